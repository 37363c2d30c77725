package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What each tool's report comes to: suites with passed, failed, skipped and flaky cases,
// then the cases kept, with the first line of the message.
func TestDialects(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"go-junit-report.xml": `
example.com/shop/broken 0 1 0 0 0s
  error example.com/shop/broken [build failed] broken/b_test.go:5 | Build error
example.com/shop/panics 1 1 0 0 0.013s
  failure example.com/shop/panics TestNil :0 | 
example.com/shop/store 2 3 1 0 0.002s
  failure example.com/shop/store TestTotal store_test.go:7 |     store_test.go:7: Total() = 3, want 4
  failure example.com/shop/store TestStore :0 | 
  failure example.com/shop/store TestStore/slow_query store_test.go:16 |     store_test.go:15: connected
`,
		"gotestsum.xml": `
example.com/shop/broken 0 1 0 0 0.001s
  failure  TestMain :0 | FAIL	example.com/shop/broken [build failed]
example.com/shop/panics 1 1 0 0 0.007s
  failure example.com/shop/panics TestNil /workspace/panics/p_test.go:9 | panic: assignment to entry in nil map [recovered, repanicked]
example.com/shop/store 2 3 1 0 0.005s
  failure example.com/shop/store TestTotal store_test.go:7 |     store_test.go:7: Total() = 3, want 4
  failure example.com/shop/store TestStore/slow_query store_test.go:16 |     store_test.go:15: connected
  failure example.com/shop/store TestStore :0 | 
`,
		"go.json": `
example.com/shop/broken 0 1 0 0 0s
  error example.com/shop/broken [build failed] broken/b_test.go:5 | # example.com/shop/broken [example.com/shop/broken.test]
example.com/shop/panics 1 1 0 0 0.008s
  failure example.com/shop/panics TestNil /workspace/panics/p_test.go:9 | panic: assignment to entry in nil map [recovered, repanicked]
example.com/shop/store 2 3 1 0 0.009s
  failure example.com/shop/store TestTotal store_test.go:7 |     store_test.go:7: Total() = 3, want 4
  failure example.com/shop/store TestStore/slow_query store_test.go:16 |     store_test.go:15: connected
  failure example.com/shop/store TestStore :0 | 
`,
		"pytest.xml": `
pytest 1 4 2 0 0.033s
  failure tests.test_shop test_total tests/test_shop.py:8 | assert 3 == 4
  failure tests.test_shop.TestPrices test_price[-1] tests/test_shop.py:14 | ValueError: negative price
  error tests.test_shop test_fixture tests/test_shop.py:23 | failed on setup with "RuntimeError: no red fixture"
  failure tests.test_shop.TestCase test_equal tests/test_shop.py:37 | AssertionError: {'a': 1} != {'a': 2}
`,
		"pytest-xunit1.xml": `
pytest 1 4 2 0 0.033s
  failure tests.test_shop test_total tests/test_shop.py:8 | assert 3 == 4
  failure tests.test_shop.TestPrices test_price[-1] tests/test_shop.py:14 | ValueError: negative price
  error tests.test_shop test_fixture tests/test_shop.py:23 | failed on setup with "RuntimeError: no red fixture"
  failure tests.test_shop.TestCase test_equal tests/test_shop.py:37 | AssertionError: {'a': 1} != {'a': 2}
`,
		"unittest.xml": `
orders 2 1 0 0 0.004s
  failure tests.test_orders.OrdersTest test_total /workspace/tests/test_orders.py:14 | 3 != 4
  success tests.test_orders.OrdersTest test_slow :0 | 
`,
		"surefire.xml": `
com.example.shop.OrderTest 3 2 1 1 1234.567s
  failure com.example.shop.OrderTest total OrderTest.java:17 | org.opentest4j.AssertionFailedError: expected: <4> but was: <3>
  error com.example.shop.OrderTest stock(int)[1] OrderTest.java:29 | java.lang.NullPointerException: Cannot invoke "java.util.List.size()" because "this.items" is null
  success com.example.shop.OrderTest remote OrderTest.java:41 | java.io.IOException: connection reset
  success com.example.shop.OrderTest slow :0 | 
`,
		"junit5.xml": `
JUnit Jupiter 1 1 0 0 0.087s
  failure com.example.shop.CartTest refuses() CartTest.java:22 | org.opentest4j.AssertionFailedError: expected: <true> but was: <false>
`,
		"jest.xml": `
cart 1 1 1 0 0.612s
  failure cart refuses negative prices cart refuses negative prices /workspace/src/cart.test.js:12 | Error: expect(received).toBe(expected) // Object.is equality
Test suite failed to run 0 1 0 0 0s
  error Test suite failed to run src/order.test.js src/order.test.js:1 |   ● Test suite failed to run
`,
		"nested.xml": `
Tests\OrderTest 0 1 0 0 0.006s
  failure Tests.OrderTest testTotal /workspace/tests/OrderTest.php:12 | Tests\OrderTest::testTotal
Tests\OrderTest::testPrice 1 0 0 0 0.002s
`,
	} {
		f, err := os.Open(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		suites, err := Read(file, f, Limits{})
		_ = f.Close()
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), show(suites)); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

func show(suites []Suite) string {
	var b strings.Builder
	for _, s := range suites {
		fmt.Fprintf(&b, "%s %d %d %d %d %gs\n", s.Name, s.Passed, s.Failed, s.Skipped, s.Flaky, s.Seconds)
		for _, k := range s.Cases {
			first, _, _ := strings.Cut(k.Message, "\n")
			fmt.Fprintf(&b, "  %s %s %s %s:%d | %s\n", k.Result, k.Class, k.Name, k.File, k.Line, first)
		}
	}
	return b.String()
}

// The whole of one message: nothing of the tool's own, nothing for the terminal.
func TestMessage(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"gotestsum.xml", "go.json", "go-junit-report.xml"} {
		data, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		suites, err := Read(file, strings.NewReader(string(data)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want, found := "    store_test.go:15: connected\n    store_test.go:16: took <too> long & red", false
		for _, k := range suites[2].Cases {
			found = found || k.Name == "TestStore/slow_query" && k.Message == want
		}
		if !found {
			t.Errorf("%s: no message %q in %+v", file, want, suites[2].Cases)
		}
	}
}
