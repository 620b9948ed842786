// Connects, reads and inserts with clickhouse-go over HTTP; prints one line for each check and exits with 1 on a failure.
// Arguments: host:port, password, "lz4", "zstd", "gzip" or "none".
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func main() {
	methods := map[string]clickhouse.CompressionMethod{
		"lz4": clickhouse.CompressionLZ4, "zstd": clickhouse.CompressionZSTD,
		"gzip": clickhouse.CompressionGZIP, "none": clickhouse.CompressionNone,
	}
	connection, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{os.Args[1]},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "tidemark", Username: "default", Password: os.Args[2]},
		Compression: &clickhouse.Compression{Method: methods[os.Args[3]]},
		ReadTimeout: time.Minute,
	})
	check(err)
	ctx := context.Background()
	check(connection.Ping(ctx))
	table := "from_go_" + os.Args[3]
	check(connection.Exec(ctx, "CREATE OR REPLACE TABLE "+table+
		" (a UInt64, b LowCardinality(String), c Nullable(Float64), d Array(String), e DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY a"))
	batch, err := connection.PrepareBatch(ctx, "INSERT INTO "+table)
	check(err)
	for number := uint64(0); number < 100000; number++ {
		half := float64(number) / 2
		check(batch.Append(number, fmt.Sprint(number%10), &half, []string{"x", fmt.Sprint(number)}, time.UnixMilli(int64(number)).UTC()))
	}
	check(batch.Send())
	var count, sum, names uint64
	check(connection.QueryRow(ctx, "SELECT count(), sum(a), uniqExact(b) FROM "+table).Scan(&count, &sum, &names))
	fmt.Println("inserted", count, sum, names)
	rows, err := connection.Query(ctx, "SELECT a, b, c, d, e FROM "+table+" WHERE a >= ? ORDER BY a", 50000)
	check(err)
	read, last := 0, ""
	for rows.Next() {
		var a uint64
		var b string
		var c *float64
		var d []string
		var e time.Time
		check(rows.Scan(&a, &b, &c, &d, &e))
		read++
		last = fmt.Sprint(a, " ", b, " ", *c, " ", d, " ", e.UnixMilli())
	}
	check(rows.Err())
	fmt.Println("read", read, last)
	err = connection.QueryRow(ctx, "SELECT * FROM nowhere").Scan(&count)
	fmt.Println("error", err != nil && len(err.Error()) > 0 && contains(err.Error(), "60"))
	fmt.Println("empty", connection.QueryRow(ctx, "SELECT a FROM "+table+" WHERE a > 1000000").Scan(&count))
}

func contains(text, part string) bool {
	for at := 0; at+len(part) <= len(text); at++ {
		if text[at:at+len(part)] == part {
			return true
		}
	}
	return false
}
