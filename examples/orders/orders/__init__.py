"""Orders: takes orders over HTTP and tells what they cost. Standard library only."""
