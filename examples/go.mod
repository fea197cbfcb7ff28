module github.com/snowtether/snowtether/examples

go 1.25.0

require (
	github.com/snowtether/snowtether v0.0.0
	github.com/snowtether/snowtether/snowtest/duckdb v0.0.0
)

replace (
	github.com/snowtether/snowtether => ../
	github.com/snowtether/snowtether/snowtest/duckdb => ../snowtest/duckdb
)
