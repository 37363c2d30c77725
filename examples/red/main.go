// Command red prints the price of its arguments' sum, and gets it wrong.
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	var cents int
	for _, arg := range os.Args[1:] {
		n, err := strconv.Atoi(arg)
		if err != nil {
			fmt.Fprintln(os.Stderr, "red:", err)
			os.Exit(1)
		}
		cents += n
	}
	fmt.Println(price(cents))
}

// price writes cents as euros. It forgets the leading zero of the cents: 5 is 0.05.
func price(cents int) string {
	return fmt.Sprintf("%d.%d EUR", cents/100, cents%100)
}
