module github.com/millrace-cd/millrace/test

go 1.26.0

replace github.com/millrace-cd/millrace/pkg => ../pkg
