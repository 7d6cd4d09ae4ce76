package api_test

import (
	"encoding/json"
	"os"
	"testing"

	"fanfare/api"
)

// The document is the API's promise: within /v1 it only grows. scripts/generated.sh write renews the file after a wanted change.
func TestDocumentIsTheOneThatIsKept(t *testing.T) {
	made, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(made, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || len(doc.Paths) < 30 {
		t.Errorf("openapi %s with %d paths", doc.OpenAPI, len(doc.Paths))
	}
	kept, err := os.ReadFile("../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) != string(made) {
		t.Error("docs/openapi.json is another document; scripts/generated.sh write renews it")
	}
}
