package fanfare_test

import (
	"testing"

	"fanfare"
)

func TestRedact(t *testing.T) {
	names := []string{"u1", "ä@x", "draft"}
	for in, want := range map[string]string{
		`{"recipient":"u1","phase":"draft","n":1}`:                    `{"n":1,"phase":"draft","recipient":null}`,
		`{"items":[{"recipient":"u2"},{"recipient":"\u0075\u0031"}]}`: `{"items":[{"recipient":"u2"},{"recipient":null}]}`,
		`{"unknown":["a","u1","draft"],"left":["b"]}`:                 `{"left":["b"],"unknown":["a"]}`,
		`{"address":"ä@x","channel":"u1","big":12345678901234567890}`: `{"address":null,"big":12345678901234567890,"channel":"u1"}`,
		`{"audience":{"any":[{"recipients":["u1"]},{"list":"u1"}]}}`:  `{"audience":{"any":[{"recipients":[]},{"list":"u1"}]}}`,
		`{"recipient":"u10","unknown":[["u1"]],"name":"u1"}`:          "",
		`{"address":" Ä@X ","to":["a@x","ä@X"]}`:                      `{"address":null,"to":["a@x"]}`,
		`{"recipient":"U1"}`: "",
		`{"recipient":"u1"`:  "",
		`not JSON of u1`:     "",
		``:                   "",
	} {
		got, some := fanfare.Redact([]byte(in), names)
		if some != (want != "") || some && string(got) != want || !some && string(got) != in {
			t.Errorf("%s: %s, %v; want %s", in, got, some, want)
		}
	}
	if got, some := fanfare.WithoutRecipients([]byte(`{"not":{"recipients":["u1","u2"],"unknown":"skip"}}`), names); !some || string(got) != `{"not":{"recipients":["u2"],"unknown":"skip"}}` {
		t.Errorf("%s, %v", got, some)
	}
}

func TestErasedException(t *testing.T) {
	for code, want := range map[string]string{"": "", "550": "550", "550 5.1.1": "550 5.1.1", "451 4.7.123": "451 4.7.123", "49301234567": "", "550 ": "", "550 x": "",
		"550 5.1": "", "550 5.1.1 ada@example.com": "", "ada@example.com": "", "550 5.1.1234": ""} {
		e := fanfare.Exception{Code: code, Text: "for ada@example.com", Attempts: 2, Reason: fanfare.ReasonPermanent}
		e.Erase()
		if e.Code != want || e.Text != "" || e.Attempts != 2 || e.Reason != fanfare.ReasonPermanent {
			t.Errorf("%q: %+v", code, e)
		}
	}
}
