// Inserts as the owner and reads as the owner and as the analyst with clickhouse-go over HTTP; prints one line for each
// check and exits with 1 on a failure.
// Arguments: host:port, the owner's password, the analyst's, "lz4", "zstd", "gzip" or "none".
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func open(user, password, method string) clickhouse.Conn {
	methods := map[string]clickhouse.CompressionMethod{
		"lz4": clickhouse.CompressionLZ4, "zstd": clickhouse.CompressionZSTD,
		"gzip": clickhouse.CompressionGZIP, "none": clickhouse.CompressionNone,
	}
	connection, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{os.Args[1]},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "tidemark", Username: user, Password: password},
		Compression: &clickhouse.Compression{Method: methods[method]},
		ReadTimeout: time.Minute,
	})
	check(err)
	check(connection.Ping(context.Background()))
	return connection
}

func main() {
	ctx := context.Background()
	owner := open("default", os.Args[2], os.Args[4])
	table := "from_go_" + os.Args[4]
	check(owner.Exec(ctx, "CREATE OR REPLACE TABLE "+table+
		" (a UInt64, b LowCardinality(String), c Nullable(Float64), d Array(String), e DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY a"))
	batch, err := owner.PrepareBatch(ctx, "INSERT INTO "+table)
	check(err)
	for number := uint64(0); number < 100000; number++ {
		half := float64(number) / 2
		check(batch.Append(number, fmt.Sprint(number%10), &half, []string{"x", fmt.Sprint(number)}, time.UnixMilli(int64(number)).UTC()))
	}
	check(batch.Send())
	read(ctx, owner, table)
	read(ctx, open("analyst", os.Args[3], os.Args[4]), table)
}

func read(ctx context.Context, connection clickhouse.Conn, table string) {
	var user string
	check(connection.QueryRow(ctx, "SELECT currentUser()").Scan(&user))
	fmt.Println("as", user)
	var count, sum, names uint64
	check(connection.QueryRow(ctx, "SELECT count(), sum(a), uniqExact(b) FROM "+table+" WHERE (a >= 0)").Scan(&count, &sum, &names))
	fmt.Println("inserted", count, sum, names)
	rows, err := connection.Query(ctx, "SELECT a, b, c, d, e FROM "+table+" WHERE a >= ? ORDER BY a", 50000)
	check(err)
	number, last := 0, ""
	for rows.Next() {
		var a uint64
		var b string
		var c *float64
		var d []string
		var e time.Time
		check(rows.Scan(&a, &b, &c, &d, &e))
		number++
		last = fmt.Sprint(a, " ", b, " ", *c, " ", d, " ", e.UnixMilli())
	}
	check(rows.Err())
	fmt.Println("read", number, last)
	err = connection.QueryRow(ctx, "SELECT * FROM nowhere").Scan(&count)
	fmt.Println("error", err != nil && strings.Contains(err.Error(), "60"))
	fmt.Println("empty", connection.QueryRow(ctx, "SELECT a FROM "+table+" WHERE a > 1000000").Scan(&count))
}
