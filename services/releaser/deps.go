package main

import _ "github.com/millrace-cd/millrace/pkg"

func main() {}
