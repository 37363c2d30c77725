module example.com/red

go 1.26
