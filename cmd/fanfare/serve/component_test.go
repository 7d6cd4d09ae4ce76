package serve

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// product is the site of an integrator: a page with <fanfare-inbox> on an origin of its own, under a strict policy, and the tokens it asks a
// server for. What the browser asks of the server goes by way of a proxy that can be gone.
type product struct {
	*running
	page, proxy *httptest.Server
	gone        atomic.Bool
	unshared    atomic.Bool   // answers come without the headers of CORS: of a proxy, or to an origin that is not configured
	seconds     atomic.Int64  // that the next token holds; 0: nobody is signed in
	tokens      atomic.Int64  // that were asked for
	again       chan struct{} // closed when the second was answered
	tab         context.Context
}

const hostileTitle = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script> {{ first_name }}`

// sell starts it all with a browser. What the browser complains of, an exception or a breach of the policy, fails the test.
func sell(t *testing.T) *product {
	t.Helper()
	path := chromium(t)
	p := &product{}
	p.seconds.Store(900)
	p.again = make(chan struct{})
	p.page = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.page.Close)
	p.running = start(t, t.TempDir(), Config{InboxOrigins: []string{p.page.URL}})
	at, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(at)
	p.proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.gone.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = recover() }() // a stream that ends
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(p.proxy.Close)

	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.WindowSize(700, 900),
		chromedp.Flag("lang", "en-US"), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true)}
	limit, stop := context.WithTimeout(context.Background(), 2*time.Minute) // not the test's: that one ends before the browser is closed in peace
	t.Cleanup(stop)
	allocator, end := chromedp.NewExecAllocator(limit, options...)
	t.Cleanup(end)
	complaints := make(chan string, 100)
	var closeTab context.CancelFunc
	p.tab, closeTab = chromedp.NewContext(allocator, chromedp.WithListener(func(event any) {
		complaint := ""
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			complaint = fmt.Sprintf("%+v", e.ExceptionDetails)
		case *log.EventEntryAdded:
			if e.Entry.Source != log.EntrySourceNetwork && !(p.unshared.Load() && strings.Contains(e.Entry.Text, "CORS policy")) { // that the server is gone is no fault of the page
				complaint = e.Entry.Text
			}
		}
		if complaint != "" && len(complaints) < cap(complaints) {
			complaints <- complaint
		}
	}))
	t.Cleanup(closeTab)
	t.Cleanup(func() {
		if err := chromedp.Cancel(p.tab); err != nil {
			t.Errorf("the browser does not close: %v", err)
		}
		for len(complaints) > 0 {
			t.Errorf("the browser complains: %s", <-complaints)
		}
	})
	p.step("start", asked(log.Enable, cdp.Empty{}))
	return p
}

// chromium finds a browser as the tests of package web do.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("FANFARE_TEST_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	const say = "SKIPPED: no Chromium is here, so <fanfare-inbox> was NOT tried; apt-get install chromium, or name one in FANFARE_TEST_CHROMIUM"
	if os.Getenv("CI") == "true" {
		t.Fatal(say)
	}
	fmt.Fprintln(os.Stderr, "!!!", say)
	t.Skip(say)
	return ""
}

func asked[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, c, params)
		return err
	})
}

func (p *product) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/my/token":
		if p.tokens.Add(1) == 2 {
			defer close(p.again)
		}
		n := p.seconds.Swap(900)
		if n == 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		var token struct{ Token string }
		p.do("POST", "/v1/recipients/u0/token", "", fmt.Sprintf(`{"ttl_seconds":%d}`, n), &token)
		_, _ = fmt.Fprintf(w, `{"token":%q}`, token.Token)
	case "/", "/attribute":
		source := `token-url="/my/token"`
		if r.URL.Path == "/attribute" {
			source = `token="` + r.URL.Query().Get("token") + `"`
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src "+p.proxy.URL+" 'self'; connect-src 'self' "+p.proxy.URL+"; require-trusted-types-for 'script'")
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Shop</title><h1>Shop</h1><script src="/page.js"></script><fanfare-inbox %s></fanfare-inbox><script src="%s/inbox.js" defer></script></html>`, source, p.proxy.URL)
	case "/page.js":
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = fmt.Fprint(w, `window.told = {}; window.needed = 0;
			addEventListener('fanfare:count', e => { window.told = e.detail; });
			addEventListener('fanfare:open', e => { window.opened = e.detail.url; e.preventDefault(); });
			addEventListener('fanfare:token', () => { window.needed++; });`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// inside is an expression for what is in the component.
func inside(selector string) string {
	return fmt.Sprintf(`document.querySelector('fanfare-inbox').shadowRoot.querySelector(%q)`, selector)
}

func (p *product) step(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.tab, steps...); err != nil {
		p.t.Fatalf("%s: %v\n%s", what, err, p.shown())
	}
}

func (p *product) shown() string {
	text, _ := chromedp.Run(p.tab, chromedp.Evaluate[string](`document.querySelector('fanfare-inbox')?.shadowRoot?.innerHTML || document.documentElement.outerHTML`))
	return text[:min(len(text), 3000)]
}

// holds waits until an expression is true.
func (p *product) holds(what, expression string) {
	p.t.Helper()
	within, stop := context.WithTimeout(p.tab, 20*time.Second)
	defer stop()
	if _, err := chromedp.Run(within, chromedp.Poll[bool](expression)); err != nil {
		p.t.Fatalf("%s: %v\n%s", what, err, p.shown())
	}
}

// reads waits until an element is shown with a text.
func (p *product) reads(selector, text string) {
	p.t.Helper()
	p.holds(selector+" should read "+text, fmt.Sprintf(`(e => e && !e.closest('[hidden]') && e.textContent.includes(%q))(%s)`, text, inside(selector)))
}

func (p *product) click(selector string) {
	p.t.Helper()
	p.step("click "+selector, chromedp.Click(chromedp.JSPath(inside(selector))))
}

func (p *product) press(keys string) {
	p.t.Helper()
	p.step("press", chromedp.KeyEvent(keys))
}

// counts waits until the server has the count: what the page shows at once has also been noted.
func (p *product) counts(token string, want inboxCount) {
	p.t.Helper()
	var got inboxCount
	for deadline := time.Now().Add(20 * time.Second); ; {
		if p.want(200, "GET", "/v1/inbox/count", token, "", &got); got == want {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server counts %+v, not %+v\n%s", got, want, p.shown())
		}
	}
}

// TestInboxComponent: a person uses <fanfare-inbox> on a page of another origin.
func TestInboxComponent(t *testing.T) {
	p := sell(t)
	p.importPeople(2)
	token := p.token("u0")
	all := map[string]any{"list": "all"}
	for i := range 21 {
		p.broadcast(map[string]any{"audience": all, "content": map[string]any{"title": fmt.Sprint("Old ", i), "url": "myapp://old"}})
	}
	p.broadcast(map[string]any{"audience": all, "content": map[string]any{"title": hostileTitle, "body": "<b>bold</b>\nsecond line", "url": "https://app.example.com/news?a=1"}})
	p.seconds.Store(32) // the first token: told of its end after two seconds
	p.step("open", chromedp.Navigate(p.page.URL+"/"))

	// Foreign text is text.
	p.reads("[part~=badge]", "22 unread")
	p.reads("li:nth-child(1) .title", `<img src=x onerror="document.title='taken'"><script>`)
	p.holds("nothing of it is HTML", `document.title === 'Shop' && !`+inside("img, script, b b"))
	p.holds("twenty", inside("[part=list]")+`.children.length === 20`)
	p.accessible()

	// By keyboard: on to the first message, open it: it is read.
	p.step("focus", chromedp.Focus(chromedp.JSPath(inside("[data-filter=archived]"))))
	p.press("\t")
	p.press("\r")
	p.reads("li:nth-child(1) .body p", "<b>bold</b>\nsecond line")
	p.holds("expanded, focused", `(e => e.getAttribute('aria-expanded') === 'true' && e === document.querySelector('fanfare-inbox').shadowRoot.activeElement)(`+inside("li:nth-child(1) .title")+`)`)
	p.reads("[part~=badge]", "21 unread")
	p.holds("the page is told", `window.told.unread === 21 && window.told.total === 22`)
	p.reads("li:nth-child(1) a", "Open app.example.com")
	p.holds("a link", `(a => a.href === 'https://app.example.com/news?a=1' && a.rel === 'noopener noreferrer' && a.target === '_blank')(`+inside("li:nth-child(1) a")+`)`)
	p.click("li:nth-child(1) a")
	p.holds("the page opens it", `window.opened === 'https://app.example.com/news?a=1'`)
	p.holds("no scheme but http and https is a link", `Array.from(document.querySelector('fanfare-inbox').shadowRoot.querySelectorAll('a')).every(a => a.protocol === 'https:')`)

	// What comes is told; what is done elsewhere shows.
	fresh := p.broadcast(map[string]any{"audience": all, "content": map[string]any{"title": "Just now"}})
	p.reads("li:nth-child(1) .title", "Just now")
	p.reads("[role=status]", "New message: Just now")
	p.reads("[part~=badge]", "22 unread")
	p.want(204, "POST", "/v1/inbox/"+fresh+"/read", token, "", nil)
	p.reads("[part~=badge]", "21 unread")
	p.holds("read elsewhere", `!`+inside("li:nth-child(1)")+`.matches('.new')`)
	p.click("li:nth-child(1) .title")
	p.click("li:nth-child(1) [data-do=unread]")
	p.reads("[part~=badge]", "22 unread")

	// Archived, and back.
	p.click("li:nth-child(1) [data-do=archive]")
	p.holds("archived", `!`+inside("li[data-message='"+fresh+"']"))
	p.holds("focus goes on", `document.querySelector('fanfare-inbox').shadowRoot.activeElement === `+inside("li:nth-child(1) .title"))
	p.click("[data-filter=archived]")
	p.reads("li:nth-child(1) .title", "Just now")
	p.holds("one", inside("[part=list]")+`.children.length === 1 && `+inside("[data-filter=archived]")+`.ariaPressed === 'true'`)
	p.click("li:nth-child(1) .title")
	p.click("li:nth-child(1) [data-do=unarchive]")
	p.reads("[part=empty]", "No messages.")

	// Of the unread the one that is open stays while it is read.
	p.click("[data-filter=unread]")
	p.reads("li:nth-child(1) .title", "Old 20")
	p.click("li:nth-child(1) .title")
	p.reads("li:nth-child(1) .body p + p", "myapp://old")
	p.reads("[part~=badge]", "20 unread")
	p.click("[data-filter='']")
	p.reads("li:nth-child(3) .title", "Old 20")
	p.click("[part~=more]")
	p.holds("all of them", inside("[part=list]")+`.children.length === 23 && `+inside(".more")+`.hidden`)
	p.step("scroll", chromedp.Evaluate[chromedp.Void](`window.scrollTo(0, 100000)`))
	p.counts(token, inboxCount{Unread: 20, Unseen: 0, Total: 23}) // those below were on the screen as well

	p.click("[part~=read-all]")
	p.holds("nothing is unread", inside("[part~=badge]")+`.hidden && `+inside("[part~=read-all]")+`.disabled && window.told.unread === 0`)
	p.counts(token, inboxCount{Total: 23})

	// The server is gone for a while.
	p.unshared.Store(true)
	p.gone.Store(true)
	p.proxy.CloseClientConnections()
	p.reads("[role=alert]", "The connection is lost")
	p.broadcast(map[string]any{"audience": all, "content": map[string]any{"title": "Meanwhile"}})
	p.gone.Store(false)
	p.click("[role=alert] button")
	p.reads("li:nth-child(1) .title", "Meanwhile")
	p.holds("all is well", inside("[role=alert]")+`.hidden`)

	p.holds("in Chinese", `(document.querySelector('fanfare-inbox').lang = 'zh-CN', `+inside("h2")+`.textContent.startsWith('站内信'))`)
	p.reads("[part~=badge]", "1 条未读")
	p.reads("li:nth-child(1) .title", "Meanwhile")
	select {
	case <-p.again:
	case <-time.After(20 * time.Second):
		t.Errorf("%d tokens were asked for, though the first has ended", p.tokens.Load())
	}
}

// TestInboxComponentWithoutRight: who is not signed in is told, and goes on when they are; a token in the attribute is asked anew of the page.
func TestInboxComponentWithoutRight(t *testing.T) {
	p := sell(t)
	p.importPeople(1)
	p.broadcast(map[string]any{"audience": map[string]any{"list": "all"}, "content": map[string]any{"title": "Hello"}})
	p.seconds.Store(0)
	p.step("open", chromedp.Navigate(p.page.URL+"/"))
	p.reads("[role=alert]", "Your session has ended")
	p.holds("nothing is said to be loading", inside("[part=empty]")+`.hidden`)
	p.click("[role=alert] button")
	p.reads("li .title", "Hello")
	p.holds("all is well", inside("[role=alert]")+`.hidden`)

	p.step("open", chromedp.Navigate(p.page.URL+"/attribute?token=nonsense"))
	p.reads("[role=alert]", "Your session has ended")
	p.holds("the page is asked", `window.needed === 1`)
	p.step("give", chromedp.Evaluate[chromedp.Void](`document.querySelector('fanfare-inbox').setAttribute('token', '`+p.token("u0")+`')`))
	p.reads("li .title", "Hello")
	p.holds("all is well", inside("[role=alert]")+`.hidden`)

	// A page of an origin that is not configured gets nothing.
	p.unshared.Store(true)
	other := httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(other.Close)
	p.step("open", chromedp.Navigate(other.URL+"/"))
	p.reads("[role=alert]", "The connection is lost")
	p.holds("nothing", inside("[part=list]")+`.children.length === 0`)
}

// accessible looks at the tree that a screen reader gets.
func (p *product) accessible() {
	p.t.Helper()
	tree, err := chromedp.Run(p.tab, func(ctx context.Context, tab *chromedp.Target) (accessibility.GetFullAXTreeResult, error) {
		return cdp.Call(ctx, tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	if err != nil {
		p.t.Fatal(err)
	}
	text := func(v *accessibility.Value) string {
		if v == nil {
			return ""
		}
		return strings.Trim(string(v.Value), `"`)
	}
	names := map[string][]string{}
	for _, n := range tree.Nodes {
		if n.Ignored {
			continue
		}
		role, name := text(n.Role), text(n.Name)
		names[role] = append(names[role], name)
		if (role == "button" || role == "link" || role == "heading") && name == "" {
			p.t.Errorf("a %s without a name: %+v", role, n)
		}
	}
	has := func(role, part string) {
		p.t.Helper()
		for _, name := range names[role] {
			if strings.Contains(name, part) {
				return
			}
		}
		p.t.Errorf("there is no %s with %q in its name; there are %q", role, part, names)
	}
	has("region", "Inbox")
	has("heading", "Inbox 22 unread")
	has("list", "Inbox")
	has("group", "Show")
	has("button", "Mark all as read")
	has("button", "Unread <img src=x")
	has("status", "")
	if n := len(names["listitem"]); n != 20 {
		p.t.Errorf("%d list items", n)
	}
	p.holds("what is controlled is there, one filter is pressed, no id is there twice, no order of its own", `(root => {
		const all = Array.from(root.querySelectorAll('*')), ids = all.map(e => e.id).filter(id => id);
		return new Set(ids).size === ids.length && all.every(e => !e.hasAttribute('aria-controls') || root.getElementById(e.getAttribute('aria-controls'))) &&
			all.filter(e => e.ariaPressed === 'true').length === 1 && all.every(e => e.tabIndex <= 0) && root.querySelector('[role=status][aria-live=polite]');
	})(document.querySelector('fanfare-inbox').shadowRoot) && true`)
}

// TestInboxScript: the script is for every origin, kept for a while, and not sent again while it is the same.
func TestInboxScript(t *testing.T) {
	r := start(t, t.TempDir(), Config{})
	get := func(method, tag string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, r.url+"/inbox.js", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://anybody.example")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		if tag != "" {
			req.Header.Set("If-None-Match", tag)
		}
		a, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Body.Close()
		return a
	}
	a := get("GET", "")
	for name, want := range map[string]string{"Content-Type": "text/javascript; charset=utf-8", "Cross-Origin-Resource-Policy": "cross-origin", "Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff",
		"Vary": "Accept-Encoding", "Cache-Control": "public, max-age=300, stale-while-revalidate=86400", "Content-Security-Policy": ""} {
		if got := a.Header.Get(name); a.StatusCode != 200 || got != want {
			t.Errorf("%d %s: %q, want %q", a.StatusCode, name, got, want)
		}
	}
	if a := get("GET", a.Header.Get("ETag")); a.StatusCode != http.StatusNotModified {
		t.Errorf("the same again: %d", a.StatusCode)
	}
	if a := get("HEAD", ""); a.StatusCode != 200 {
		t.Errorf("HEAD: %d", a.StatusCode)
	}
	if a := get("POST", ""); a.StatusCode == 200 {
		t.Errorf("POST: %d", a.StatusCode)
	}
}
