package email

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fanfare"
	"fanfare/channels/channeltest"

	"github.com/emersion/go-msgauth/dkim"
	"pgregory.net/rapid"
)

func pemOf(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// dkims gives settings of each kind of key.
func dkims(t testing.TB) map[string]fanfare.DKIM {
	old := rsaKey(t, 2048)
	return map[string]fanfare.DKIM{
		"RSA":         {Domain: "example.org", Selector: "s1", Key: pemOf(t, rsaKey(t, 2048))},
		"RSA PKCS #1": {Domain: "bücher.example", Selector: "2026.mail", Key: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(old)}))},
		"Ed25519":     {Domain: "Example.org", Selector: "e-1", Key: pemOf(t, edKey(t))},
	}
}

// verified asks go-msgauth, which looks for the record where we say that it has to be published.
func verified(t testing.TB, d fanfare.DKIM, mail []byte) (*dkim.Verification, error) {
	t.Helper()
	name, value, err := DKIMRecord(d)
	if err != nil {
		t.Fatal(err)
	}
	found, err := dkim.VerifyWithOptions(bytes.NewReader(mail), &dkim.VerifyOptions{LookupTXT: func(asked string) ([]string, error) {
		if asked != name {
			return nil, fmt.Errorf("asked for %s, published is %s", asked, name)
		}
		return []string{value}, nil
	}})
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		t.Fatalf("%d signatures", len(found))
	}
	return found[0], found[0].Err
}

var signedAlways = []string{"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "List-Unsubscribe", "List-Unsubscribe-Post", "Reply-To", "Feedback-ID"}

// TestDKIMOverSMTP: what a server received, chunk after chunk on one connection, is verified by go-msgauth; a change of what was signed is noticed.
func TestDKIMOverSMTP(t *testing.T) {
	server, client := certificate(t)
	for name, d := range dkims(t) {
		t.Run(name, func(t *testing.T) {
			g := newGoSMTP(t, channeltest.Trouble{At: -1})
			addr := g.serve(server, false, true)
			c := trusting(client)
			conn, err := c.Dial(t.Context(), fanfare.Provider{Name: "mail", Channel: fanfare.ChannelEmail, URL: "smtp://user:pass%2Fw%C3%B6rd@" + addr, From: news, DKIM: d})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // not what is tried
			m := testMessage(fanfare.Content{Subject: "Grüße  an {{ name }}", Text: "{{ name }},\n\n\ttab  spaces \n.dot\nlast", HTML: "<p>  {{ name }}\t</p>\n\n\n",
				ReplyTo: "help@example.org", Headers: map[string]string{"Feedback-ID": "{{ message.id }}:fanfare", "X-Note": "a  b"}})
			compiled, err := c.Compile(m)
			if err != nil {
				t.Fatal(err)
			}
			const chunks, size = 3, 4
			for range chunks {
				items := make([]fanfare.Outgoing, size)
				for i := range items {
					email := "ada@example.com"
					if i == 1 {
						email = "ünal@example.com" // by SMTPUTF8
					}
					items[i] = *outgoing(m, &fanfare.Recipient{ExternalID: "u", Email: email, Attributes: map[string]any{"name": strings.Repeat("Ada =\t ", 7*i) + "."}})
					if items[i].Rendered, err = compiled.Render(nil, &items[i]); err != nil {
						t.Fatal(err)
					}
				}
				if err := conn.Send(t.Context(), items, always, func(i int, a fanfare.SendAnswer) {
					if a.Kind != fanfare.SendOK {
						t.Errorf("%d: %+v", i, a)
					}
				}); err != nil {
					t.Fatal(err)
				}
			}
			if len(g.raw) != chunks*size {
				t.Fatalf("%d mails arrived", len(g.raw))
			}
			for i, mail := range g.raw {
				v, err := verified(t, d, mail)
				if err != nil {
					t.Fatalf("mail %d: %v\n%s", i, err, mail)
				}
				for _, field := range signedAlways {
					if !slices.ContainsFunc(v.HeaderKeys, func(k string) bool { return strings.EqualFold(k, field) }) {
						t.Errorf("%s is not signed: %v", field, v.HeaderKeys)
					}
				}
				for line := range strings.Lines(string(mail)) {
					if len(line) > 80+2 {
						t.Errorf("a line of %d: %q", len(line), line)
					}
				}
			}
			mail := string(g.raw[0])
			for what, changed := range map[string]string{
				"body":             strings.Replace(mail, ".dot", ".Dot", 1) + " ",
				"subject":          strings.Replace(mail, "Subject: ", "Subject: Re: ", 1),
				"unsubscribe":      strings.Replace(mail, "List-Unsubscribe: <https://", "List-Unsubscribe: <http://", 1),
				"another From":     strings.Replace(mail, "\r\nSubject: ", "\r\nFrom: e@evil.example\r\nSubject: ", 1),
				"another Reply-To": strings.Replace(mail, "\r\nSubject: ", "\r\nReply-To: e@evil.example\r\nSubject: ", 1),
			} {
				if what == "body" {
					changed = strings.Replace(mail, "tab", "tub", 1)
				}
				if changed == mail {
					t.Fatalf("%s: nothing was changed", what)
				}
				if _, err := verified(t, d, []byte(changed)); err == nil {
					t.Errorf("%s was changed, and nobody noticed", what)
				}
			}
			unsigned := strings.Replace(mail, "X-Note: a  b", "X-Note: c", 1)
			if unsigned == mail {
				t.Fatal("nothing was changed")
			}
			if _, err := verified(t, d, []byte(unsigned)); err != nil {
				t.Errorf("a header of no weight was changed on the way: %v", err)
			}
		})
	}
}

// TestDKIMIsTheSameAgain: an item that is sent again has the same bytes, so its signature holds nothing but the mail.
func TestDKIMIsTheSameAgain(t *testing.T) {
	it := rendered(t, testChannel(fanfare.Provider{}), "ada@example.com")
	for name, d := range dkims(t) {
		s, err := newSigner(d)
		if err != nil {
			t.Fatal(err)
		}
		first, err := s.append(nil, it.Rendered)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.append([]byte("x"), it.Rendered)
		if err != nil || !bytes.Equal(first, again[1:]) {
			t.Errorf("%s: %v\n%s\n%s", name, err, first, again)
		}
	}
}

// TestDKIMOfAnyContent: whatever content and values hold, go-msgauth agrees with our canonical form.
func TestDKIMOfAnyContent(t *testing.T) {
	d := fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: pemOf(t, edKey(t))}
	s, err := newSigner(d)
	if err != nil {
		t.Fatal(err)
	}
	odd := rapid.StringOfN(rapid.SampledFrom([]rune(" \t\r\n.=;:<>\"aZé上\x00\u2028")), 0, 200, -1)
	rapid.Check(t, func(t *rapid.T) {
		content := fanfare.Content{Subject: "s{{ a }}", Text: odd.Draw(t, "text") + "x{{ b }}", Headers: map[string]string{"References": "{{ c }}"}, From: "{{ d }} <n@example.org>"}
		if rapid.Bool().Draw(t, "html") {
			content.HTML = odd.Draw(t, "html") + "{{ a }}"
		}
		m := testMessage(content)
		compiled, err := testChannel(fanfare.Provider{}).Compile(m)
		if err != nil {
			t.Fatal(err)
		}
		r := &fanfare.Recipient{ExternalID: "u", Email: "ada@example.com", Attributes: map[string]any{"a": odd.Draw(t, "a"), "b": odd.Draw(t, "b"), "c": odd.Draw(t, "c"), "d": odd.Draw(t, "d")}}
		for name, v := range r.Attributes { // an empty value is a missing one
			r.Attributes[name] = v.(string) + "v"
		}
		raw, err := compiled.Render(nil, outgoing(m, r))
		if err != nil {
			t.Fatal(err)
		}
		mail, err := s.append(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		found, err := dkim.VerifyWithOptions(bytes.NewReader(mail), &dkim.VerifyOptions{LookupTXT: func(string) ([]string, error) {
			_, value, err := DKIMRecord(d)
			return []string{value}, err
		}})
		if err != nil || len(found) != 1 || found[0].Err != nil {
			t.Fatalf("%v %+v\n%s", err, found, mail)
		}
	})
}

// TestDKIMThatDoesNotFit: a provider is refused with what to do, and the error never tells the key.
func TestDKIMThatDoesNotFit(t *testing.T) {
	good := pemOf(t, rsaKey(t, 2048))
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(edKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for _, c := range []struct {
		d    fanfare.DKIM
		says string
	}{
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: good}, ""},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1"}, "openssl genrsa"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: "hello"}, "no PEM"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: good[:len(good)-60]}, "no PEM"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: block("PRIVATE KEY", []byte("secret"))}, "cannot be read"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: block("ENCRYPTED PRIVATE KEY", []byte("secret"))}, "openssl pkey"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n"}, "openssl pkey"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: block("PUBLIC KEY", public)}, "public half"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: block("CERTIFICATE", public)}, "no private key"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: pemOf(t, curve)}, "use RSA"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: pemOf(t, rsaKey(t, 4160))}, "1024 to 4096"},
		{fanfare.DKIM{Domain: "example", Selector: "s1", Key: good}, "domain"},
		{fanfare.DKIM{Selector: "s1", Key: good}, "domain"},
		{fanfare.DKIM{Domain: "example.org; x=1", Selector: "s1", Key: good}, "domain"},
		{fanfare.DKIM{Domain: "example.org", Key: good}, "selector"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1; d=evil.example", Key: good}, "selector"},
		{fanfare.DKIM{Domain: "example.org", Selector: "s1\r\nBcc: x", Key: good}, "selector"},
	} {
		err := New(Config{}).Check(fanfare.Provider{Name: "mail", URL: "smtp://127.0.0.1:25?starttls=off", From: news, DKIM: c.d})
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "provider mail: dkim: ")) {
			t.Errorf("%q %q: %v", c.d.Domain, c.d.Selector, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "c2Vj")) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}

// BenchmarkDKIM is what a signature costs beside the bare signature of a hash, and in the library that is the tests' judge.
func BenchmarkDKIM(b *testing.B) {
	_, items := benchItems(b, 1)
	compiled, err := testChannel(fanfare.Provider{}).Compile(items[0].Message)
	if err != nil {
		b.Fatal(err)
	}
	mail, err := compiled.Render(nil, &items[0])
	if err != nil {
		b.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"RSA-2048": rsaKey(b, 2048), "Ed25519": edKey(b)} {
		s, err := newSigner(fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: pemOf(b, key)})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/ours", func(b *testing.B) {
			var dst []byte
			for b.Loop() {
				if dst, err = s.append(dst[:0], mail); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/bare", func(b *testing.B) {
			for b.Loop() {
				if _, err := key.Sign(nil, make([]byte, 32), s.hash); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/go-msgauth", func(b *testing.B) {
			var out bytes.Buffer
			for b.Loop() {
				out.Reset()
				if err := dkim.Sign(&out, bytes.NewReader(mail), &dkim.SignOptions{Domain: "example.org", Selector: "s1", Signer: key, HeaderCanonicalization: dkim.CanonicalizationRelaxed,
					BodyCanonicalization: dkim.CanonicalizationRelaxed, HeaderKeys: append([]string{"From"}, signedAlways...)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
