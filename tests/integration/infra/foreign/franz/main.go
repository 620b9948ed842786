// Reads the topics named after the address from their beginning, and prints one line a topic.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	topics := os.Args[2:]
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Args[1]),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	counts := map[string]int{}
	for len(counts) < len(topics) && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(topic string, partition int32, err error) {
			fmt.Fprintln(os.Stderr, topic, partition, err)
		})
		fetches.EachRecord(func(record *kgo.Record) {
			// A magic byte and the four bytes of the schema's id come first.
			if len(record.Value) > 5 && record.Value[0] == 0 {
				counts[record.Topic]++
			}
		})
	}
	for _, topic := range topics {
		fmt.Println(topic, counts[topic] > 0)
	}
}
