"""python3 -m tests FILE: runs all tests and writes what became of them to FILE.

The file is JUnit's XML, the form of report that every tool reads. The standard library
writes none; this is all that it takes.
"""

import sys
import time
import traceback
import unittest
import xml.etree.ElementTree as xml


class Result(unittest.TextTestResult):
    """Notes each test as an element of the report, with the place where it failed."""

    def startTestRun(self):
        super().startTestRun()
        self.suite = xml.Element("testsuite", name="tests")
        self.began = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def note(self, test, problem=None, err=None, reason=""):
        name = test.id().rpartition(".")[2]
        case = xml.SubElement(self.suite, "testcase", classname=type(test).__name__, name=name)
        case.set("time", f"{time.monotonic() - self.began:.3f}")
        if err:
            frame = [f for f in traceback.extract_tb(err[2]) if "/tests/" in f.filename][-1:]
            for f in frame:
                case.set("file", "tests/" + f.filename.rpartition("/")[2])
                case.set("line", str(f.lineno))
            reason = "".join(traceback.format_exception_only(*err[:2])).strip()
        if problem:
            xml.SubElement(case, problem, message=reason)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "failure", err)

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "error", err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.note(test, "failure", err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped", reason=reason)


def main(report):
    tests = unittest.defaultTestLoader.discover("tests", top_level_dir=".")
    result = unittest.TextTestRunner(stream=sys.stdout, resultclass=Result, verbosity=2).run(tests)
    xml.ElementTree(result.suite).write(report, encoding="utf-8", xml_declaration=True)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
