package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium finds a browser: FANFARE_TEST_CHROMIUM, or what Debian and others call it on PATH.
func chromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("FANFARE_TEST_CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const say = "SKIPPED: no Chromium is here, so the page's script was NOT tried; apt-get install chromium, or name one in FANFARE_TEST_CHROMIUM"
	if os.Getenv("CI") == "true" {
		t.Fatal(say)
	}
	fmt.Fprintln(os.Stderr, "!!!", say)
	t.Skip(say)
	return ""
}

// browser is one person's browser on the pages of a fake API, and what a test waits for in it.
type browser struct {
	t   *testing.T
	api *fakeAPI
	url string
	ctx context.Context // of the tab
}

// open starts a browser with a profile of its own that lives as long as the test. What it says against the page, an exception or a
// breach of the policy, fails the test. wrap may stand before the pages.
func open(t *testing.T, f *fakeAPI, wrap func(http.Handler) http.Handler) *browser {
	t.Helper()
	path := chromium(t)
	server := httptest.NewServer(wrap(New(Config{API: f, Logger: quiet(t)})))
	t.Cleanup(server.Close) // after the browser has gone, so that no stream is left
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.WindowSize(1280, 900), chromedp.Flag("lang", "en-US"),
	}
	for _, flag := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	limit, stop := context.WithTimeout(context.Background(), 2*time.Minute) // not the test's: that one ends before the browser is closed in peace
	t.Cleanup(stop)
	allocator, end := chromedp.NewExecAllocator(limit, options...)
	t.Cleanup(end)
	complaints := make(chan string, 100)
	ctx, closeTab := chromedp.NewContext(allocator, chromedp.WithListener(func(event any) {
		complaint := ""
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			complaint = fmt.Sprintf("%+v", e.ExceptionDetails)
		case *log.EventEntryAdded:
			if e.Entry.Source != log.EntrySourceNetwork { // a status that is no 200 is no fault of the page
				complaint = e.Entry.Text
			}
		}
		if complaint != "" && len(complaints) < cap(complaints) {
			complaints <- complaint
		}
	}))
	t.Cleanup(closeTab)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("the browser does not close: %v", err)
		}
		for len(complaints) > 0 {
			t.Errorf("the browser complains: %s", <-complaints)
		}
	})
	b := &browser{t: t, api: f, url: server.URL, ctx: ctx}
	b.do("start", command(log.Enable, cdp.Empty{}))
	return b
}

func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, c, params)
		return err
	})
}

// signedIn gives the browser the cookie.
func (b *browser) signedIn() {
	b.t.Helper()
	b.do("the cookie", command(network.SetCookie, network.SetCookieParams{Name: keyCookie, Value: goodKey, URL: b.url}))
}

// do runs steps; what says which ones did not come to an end.
func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.fail(what, err)
	}
}

func (b *browser) fail(what string, err error) {
	b.t.Helper()
	page, _ := chromedp.Run(b.ctx, chromedp.OuterHTML(chromedp.CSS("main")))
	b.t.Fatalf("%s: %v\n%s", what, err, page)
}

// holds waits until the expression is true. A poll ends with an error when its page is left; the next page is asked in its place.
func (b *browser) holds(what, expression string) {
	b.t.Helper()
	within, stop := context.WithTimeout(b.ctx, 20*time.Second)
	defer stop()
	for {
		_, err := chromedp.Run(within, chromedp.Poll[bool](expression))
		if err == nil {
			return
		}
		if within.Err() != nil {
			b.fail(what, err)
		}
	}
}

// reads waits until the element is there, visible, and shows the text.
func (b *browser) reads(selector, text string) {
	b.t.Helper()
	b.holds(selector+" should read "+text, fmt.Sprintf(`Array.from(document.querySelectorAll(%q)).some(e => !e.closest('[hidden]') && e.textContent.includes(%q))`, selector, text))
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// listens waits until the page has opened its stream.
func (b *browser) listens() {
	b.t.Helper()
	select {
	case <-b.api.opened:
	case <-b.ctx.Done():
		b.t.Fatal("the page does not listen")
	}
}

// event sends a progress to the page.
func (b *browser) event(data string) {
	b.t.Helper()
	select {
	case b.api.events <- data:
	case <-b.ctx.Done():
		b.t.Fatal("the page has stopped listening")
	}
}

func bare(h http.Handler) http.Handler { return h }

// TestBrowser is an operator's visit: sign in, open the message, see its numbers move, pause it, see that it paused.
func TestBrowser(t *testing.T) {
	f := world()
	b := open(t, f, bare)
	b.do("open", chromedp.Navigate(b.url+"/messages/m1"), chromedp.SendKeys(chromedp.CSS("#key"), goodKey+"\r"))
	b.reads("h1", "Spring news")
	b.reads("[data-count=sent]", "600,000")
	b.reads(".verdict.good", "Balanced")
	b.listens()

	// Numbers move without a reload: the mark set here would not survive one.
	b.do("mark the page", chromedp.Evaluate[chromedp.Void](`window.mark = 'same page'`))
	b.event(f.count("m1", map[string]int{"sent": 700_000, "remaining": 286_344}))
	b.reads("[data-count=sent]", "700,000")
	b.reads("[data-count=remaining]", "286,344")
	b.reads("[data-live=share]", "71.3")
	b.reads("#said", "700,000 sent")
	b.holds("the bar", `Math.abs(document.querySelector('[data-bar=sent]').getAttribute('width') - 693) < 2 && window.mark === 'same page'`)

	// A sum that does not add up is told at once, and taken back when it does.
	b.event(f.count("m1", map[string]int{"remaining": 286_343}))
	b.reads(".verdict.bad", "does not balance")
	b.holds("no other verdict", `document.querySelector('.verdict.good').hidden`)
	b.event(f.count("m1", map[string]int{"remaining": 286_344}))
	b.reads(".verdict.good", "Balanced")
	b.holds("no other verdict", `document.querySelector('.verdict.bad').hidden`)

	// Why it waits is text, be it as hostile as it likes.
	f.mu.Lock()
	f.progress["m1"]["waiting"] = map[string]any{"reason": "provider_down", "provider": "mail", "detail": hostile, "since": "2026-11-24T08:00:00Z"}
	f.mu.Unlock()
	b.event(f.count("m1", nil))
	b.reads("[data-live=waiting-reason]", "provider does not answer")
	b.reads("[data-live=waiting-detail]", "<script>alert(1)")
	b.holds("text only", `document.querySelectorAll('main script, main img').length === 0`)

	b.click(`form[action="/messages/m1/pause"] button`)
	b.reads("#heading .badge", "Paused")
	b.reads(`form[action="/messages/m1/resume"] button`, "Resume")
	if told := strings.Join(f.told(), "\n"); !strings.Contains(told, "POST /v1/messages/m1/pause") {
		t.Errorf("the API was told:\n%s", told)
	}
	b.listens()

	// Somebody else resumes it: the buttons follow without a reload.
	b.do("mark the page again", chromedp.Evaluate[chromedp.Void](`window.mark = 'paused page'`))
	f.mu.Lock()
	f.turn("m1", "sending", 1)
	f.mu.Unlock()
	b.event(f.count("m1", nil))
	b.reads("#heading .badge", "Sending")
	b.reads(`form[action="/messages/m1/pause"] button`, "Pause")
	b.holds("the same page", `window.mark === 'paused page'`)

	// Cancel asks once more.
	b.click(`a[href="/messages/m1/cancel"]`)
	b.reads("h1", "Cancel “Spring news”?")
	b.click(`form[action="/messages/m1/cancel"] button`)
	b.reads("#heading .badge", "Cancelled")

	b.click(`a[hreflang="zh-CN"]`)
	b.reads("#heading .badge", "已取消")
	b.do("the list", chromedp.Navigate(b.url+"/"))
	b.reads("h1", "消息")
	b.click(`form[action="/signout"] button`)
	b.reads("h1", "登录")
}

// TestBrowserDraft: a draft starts from the page, and the page turns into the balance by itself; a stream that ends with the message is not opened again.
func TestBrowserDraft(t *testing.T) {
	f := world()
	b := open(t, f, bare)
	b.signedIn()
	b.do("open the draft", chromedp.Navigate(b.url+"/messages/draft"))
	b.reads(`form[action="/messages/draft/start"] button`, "send to 1,234")
	b.listens()
	b.click(`form[action="/messages/draft/start"] button`)
	b.reads("#progress", "not frozen yet")
	b.listens()
	f.mu.Lock()
	f.messages["draft"]["started_at"], f.messages["draft"]["outcome"] = "2026-11-24T08:30:00Z", "all_sent"
	f.turn("draft", "completed", 3)
	f.mu.Unlock()
	b.event(f.count("draft", map[string]int{"audience": 1250, "planned": 1234, "sent": 1234, "skipped": 16}))
	b.reads("#heading .badge", "Completed")
	b.reads("[data-count=sent]", "1,234")
	b.reads("[data-live=share]", "100.0")
	b.reads("#failures", "Nothing failed")
	if len(f.opened) > 0 {
		t.Error("the stream of a completed message was opened again")
	}
}

// TestBrowserLosesTheServer: the page says that its numbers may be old, and goes on when the server is back.
func TestBrowserLosesTheServer(t *testing.T) {
	f := world()
	var gone atomic.Bool
	cut := make(chan struct{})
	b := open(t, f, func(pages http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if gone.Load() {
				w.WriteHeader(http.StatusBadGateway) // what a proxy says
				return
			}
			ctx, stop := context.WithCancel(r.Context())
			defer stop()
			if strings.HasSuffix(r.URL.Path, "/stream") {
				go func() {
					select {
					case <-cut:
						stop()
					case <-ctx.Done():
					}
				}()
			}
			pages.ServeHTTP(w, r.WithContext(ctx))
		})
	})
	b.signedIn()
	b.do("open", chromedp.Navigate(b.url+"/messages/m1"))
	b.listens()
	gone.Store(true)
	cut <- struct{}{}
	b.reads("#lost", "connection to the server is lost")
	gone.Store(false)
	b.listens()
	b.event(f.count("m1", map[string]int{"sent": 600_001, "remaining": 386_343}))
	b.reads("[data-count=sent]", "600,001")
	b.holds("no longer lost", `document.querySelector('#lost').hidden`)
}

// TestBrowserList: the list follows by itself, in the order and the words of the server.
func TestBrowserList(t *testing.T) {
	f := world()
	b := open(t, f, bare)
	b.signedIn()
	b.do("open", chromedp.Navigate(b.url+"/"))
	b.reads("#list", "600,000 / 999,000")
	b.do("mark the page", chromedp.Evaluate[chromedp.Void](`window.mark = 'same page'`))
	f.count("m1", map[string]int{"sent": 650_000, "remaining": 336_344})
	b.reads("#list", "650,000 / 999,000")
	b.holds("the same page", `window.mark === 'same page'`)
}

// TestBrowserReads: reads of an inbox message move while it is sent, by the stream, and after it, when the stream has ended.
func TestBrowserReads(t *testing.T) {
	f := world()
	f.mu.Lock()
	f.turn("app", "sending", 1)
	f.mu.Unlock()
	b := open(t, f, bare)
	b.signedIn()
	b.do("open", chromedp.Navigate(b.url+"/messages/app"))
	b.listens()
	b.do("mark the page", chromedp.Evaluate[chromedp.Void](`window.mark = 'same page'`))
	b.event(f.count("app", map[string]int{"seen": 500, "read": 360}))
	b.reads("[data-live=read-share]", "40.0")
	b.reads("[data-live=looked]", "140")
	b.reads("[data-live=not_seen]", "400")
	b.holds("every term can be seen", `Array.from(document.querySelectorAll('.term')).every(e => e.offsetWidth > 20 && getComputedStyle(e).clipPath === 'none')`)
	b.holds("the bar", `Math.abs(document.querySelector('#reads [data-bar=read]').getAttribute('width') - 400) < 2`)
	f.mu.Lock()
	f.turn("app", "completed", 3)
	f.mu.Unlock()
	b.event(f.count("app", nil))
	b.reads("#heading .badge", "Completed")
	f.count("app", map[string]int{"seen": 900, "read": 891})
	b.reads("[data-live=read-share]", "99.0")
	b.reads("[data-live=not_seen]", "0")
	b.holds("the same page", `window.mark === 'same page'`)
	if len(f.opened) > 0 {
		t.Error("the stream of a completed message was opened again")
	}
	b.do("mail", chromedp.Navigate(b.url+"/messages/m1"))
	b.listens()
	b.event(f.count("m1", nil))
	b.event(f.count("m1", map[string]int{"seen": 1, "read": 1}))
	b.reads("#reads", "an open is a guess")
}

// TestBrowserReminds: of a completed message whoever has not read can be reminded; a draft to them is made once, and shown.
func TestBrowserReminds(t *testing.T) {
	f := world()
	f.mu.Lock()
	f.turn("app", "completed", 3)
	f.mu.Unlock()
	f.count("app", map[string]int{"sent": 900, "seen": 500, "read": 360})
	b := open(t, f, bare)
	b.signedIn()
	b.do("open", chromedp.Navigate(b.url+"/messages/app"))
	b.reads(`form[action="/messages/app/remind"] button`, "Remind 540 who have not read")
	b.click(`a[hreflang="zh-CN"]`)
	b.reads(`form[action="/messages/app/remind"] button`, "提醒 540 位未读的人")
	b.click(`form[action="/messages/app/remind"] button`)
	b.reads("h1", "Clone of a message")
	if told := strings.Join(f.told(), "\n"); !strings.Contains(told, `POST /v1/messages/app/clone {"audience":{"message":"app","read":false},"name":"提醒：`) || len(f.once) != 1 {
		t.Errorf("the API was told, with %d keys:\n%s", len(f.once), told)
	}
	f.count("app", map[string]int{"read": 900})
	b.do("open", chromedp.Navigate(b.url+"/messages/app"))
	b.holds("nobody is left to be reminded", `document.querySelector('#heading') && !document.querySelector('form[action$="/remind"]')`)
}
