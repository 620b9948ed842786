// Reads the topics named after the address from their beginning with sarama's defaults, and prints one line a topic.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// reader counts the messages that begin as the Confluent wire format says, and ends when each topic has one.
type reader struct {
	lock   sync.Mutex
	counts map[string]int
	wanted int
	finish context.CancelFunc
}

func (r *reader) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (r *reader) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (r *reader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			// A magic byte and the four bytes of the schema's id come first.
			if len(message.Value) > 5 && message.Value[0] == 0 {
				r.lock.Lock()
				r.counts[message.Topic]++
				if len(r.counts) == r.wanted {
					r.finish()
				}
				r.lock.Unlock()
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func main() {
	topics := os.Args[2:]
	config := sarama.NewConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Return.Errors = true
	group, err := sarama.NewConsumerGroup([]string{os.Args[1]}, fmt.Sprint("foreign-sarama-", time.Now().UnixNano()), config)
	if err != nil {
		panic(err)
	}
	go func() {
		for err := range group.Errors() {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	r := &reader{counts: map[string]int{}, wanted: len(topics), finish: cancel}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, topics, r); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, topic := range topics {
		fmt.Println(topic, r.counts[topic] > 0)
	}
}
