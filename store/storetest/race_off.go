//go:build !race

package storetest

// manyLogs is how many logs the test of many logs has.
const manyLogs = 20_000

// manyWatches is how many watches the test of many watches has.
const manyWatches = 10_000
