// Follows a stream by a client of server-sent events, which resumes by itself: one line of JSON an event.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/tmaxmax/go-sse"
)

type told struct {
	Type   string          `json:"type"`
	ID     string          `json:"id"`
	Change json.RawMessage `json:"change"`
}

func main() {
	request, err := http.NewRequest("GET", os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("x-api-key", os.Args[2])
	client := sse.Client{Backoff: sse.Backoff{InitialInterval: 100 * time.Millisecond, Multiplier: 1, MaxRetries: 1000}}
	connection := client.NewConnection(request)
	connection.SubscribeToAll(func(event sse.Event) {
		line, err := json.Marshal(told{event.Type, event.LastEventID, json.RawMessage(event.Data)})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(line))
	})
	log.Fatal(connection.Connect())
}
