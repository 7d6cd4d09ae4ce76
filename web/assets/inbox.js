// <fanfare-inbox token-url="/my/token"></fanfare-inbox>, or token="…": a person's inbox, on the pages of your own product.
// Attributes: lang (en, zh; else the page's), server (else where this script came from). Events: fanfare:count {unread, unseen, total},
// fanfare:open {message, url} (preventDefault: your page goes there itself), fanfare:token (a new value of token is needed).
// Text of messages is only ever set as text, only http and https become links, and nothing is ever made of HTML.
(() => {
'use strict';
if (customElements.get('fanfare-inbox')) return;
const script = document.currentScript || document.querySelector('script[src*="/inbox.js"]');
const home = script ? new URL('.', script.src).href : location.origin + '/';

const words = {
	en: {inbox: 'Inbox', unread: 'Unread', all: 'All', archived: 'Archived', show: 'Show', readAll: 'Mark all as read', more: 'Load more', archive: 'Archive', unarchive: 'Move to inbox',
		markUnread: 'Mark as unread', open: 'Open {host}', count: '{n} unread', fresh: 'New message: {title}', none: 'No messages.', allRead: 'Everything is read.', gone: 'Archived.', loading: 'Loading…',
		offline: 'The connection is lost. What you see may be old; trying again.', signedOut: 'Your session has ended. Sign in again to see your messages.', busy: 'The server is busy; trying again.', again: 'Try again'},
	zh: {inbox: '站内信', unread: '未读', all: '全部', archived: '已归档', show: '显示', readAll: '全部标为已读', more: '加载更多', archive: '归档', unarchive: '移回收件箱',
		markUnread: '标为未读', open: '打开 {host}', count: '{n} 条未读', fresh: '新消息：{title}', none: '没有消息。', allRead: '已全部读完。', gone: '已归档。', loading: '加载中…',
		offline: '连接已断开，显示的内容可能不是最新的；正在重试。', signedOut: '登录已失效，请重新登录后查看消息。', busy: '服务器繁忙，正在重试。', again: '重试'},
};

const css = new CSSStyleSheet(); // not a style element: a page's policy may forbid those
css.replaceSync(`
:host { display: block; color: var(--fanfare-text, light-dark(#1b2330, #e6eaf0)); background: var(--fanfare-ground, light-dark(#fff, #191f28)); font: var(--fanfare-font, 16px/1.5 system-ui, sans-serif);
	border: 1px solid var(--line); border-radius: var(--fanfare-radius, 12px); --line: var(--fanfare-line, light-dark(#dfe3e9, #2c3542)); --soft: var(--fanfare-soft, light-dark(#566173, #a3afbf)); --accent: var(--fanfare-accent, light-dark(#2450c4, #8fb0ff)); }
:host([hidden]), [hidden] { display: none !important; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
section { position: relative; }
header, .filters, .acts { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem; }
header { padding: .8rem 1rem .2rem; }
h2 { flex: 1; font-size: 1.15em; margin: 0; }
.badge { display: inline-block; min-width: 1.5em; padding: 0 .45em; border-radius: 1em; background: var(--accent); color: var(--fanfare-ground, light-dark(#fff, #191f28)); font-size: .75em; text-align: center; }
button { font: inherit; color: inherit; background: none; border: 1px solid transparent; border-radius: 8px; padding: .2rem .6rem; cursor: pointer; }
button, a { color: var(--accent); }
button[aria-pressed=true] { border-color: currentColor; font-weight: 600; }
button:disabled { opacity: .6; cursor: default; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 1px; border-radius: 4px; }
.filters { padding: .2rem 1rem .6rem; }
.notice { margin: 0 1rem .6rem; padding: .5rem .8rem; border-radius: 8px; background: light-dark(#fdf3e0, #3b2c10); color: light-dark(#7a4a05, #f2c677); }
.notice button { color: inherit; text-decoration: underline; }
ul { list-style: none; margin: 0; padding: 0; }
li { border-top: 1px solid var(--line); }
.title { display: flex; gap: .6rem; width: 100%; text-align: start; color: inherit; padding: .7rem 1rem; border-radius: 0; }
.title > b { flex: 1; font-weight: 400; overflow-wrap: anywhere; }
.title::before { content: ''; flex: none; width: .55em; height: .55em; margin-top: .5em; border-radius: 50%; }
li.new .title > b { font-weight: 650; }
li.new .title::before { background: var(--accent); }
time { color: var(--soft); font-size: .85em; white-space: nowrap; }
.body { padding: 0 1rem .8rem 2.15rem; }
.body p { margin: 0 0 .6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.body a { overflow-wrap: anywhere; }
.acts { margin: .5rem 0 0 -.6rem; }
.empty, .more { padding: 1rem; margin: 0; text-align: center; color: var(--soft); border-top: 1px solid var(--line); }
`);

// make builds an element: attributes that begin with on are listeners, children are elements or text.
function make(name, attributes, ...children) {
	const e = document.createElement(name);
	for (const [key, value] of Object.entries(attributes || {})) {
		if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
		else if (value !== false && value != null) e.setAttribute(key, value === true ? '' : value);
	}
	e.append(...children);
	return e;
}
const after = ms => new Promise(done => setTimeout(done, ms));
const failed = (status, wait) => Object.assign(new Error('fanfare-inbox: ' + status), {status, wait});

customElements.define('fanfare-inbox', class extends HTMLElement {
	static observedAttributes = ['token', 'token-url', 'lang', 'server'];
	#root = this.attachShadow({mode: 'open'});
	#token = null; #asking = null; #asked = 0; #refused = null; // the token; a request for one; when the last was made; the attribute's value that was not taken
	#items = []; #rows = new Map(); #open = new Set(); #next = null; #filter = ''; #counts = null; #marks = 0; #loaded = false;
	#live = null; #break = null; #wake = null; #last = ''; #hiding = 0; #dirty = 0; // of the stream
	#seeing = null; #seen = new Set(); #state = '';

	connectedCallback() {
		this.#root.adoptedStyleSheets = [css];
		this.#build();
		document.addEventListener('visibilitychange', this.#visible);
		addEventListener('online', this.#again);
		this.#start();
	}
	disconnectedCallback() {
		document.removeEventListener('visibilitychange', this.#visible);
		removeEventListener('online', this.#again);
		clearTimeout(this.#hiding);
		this.#seeing.disconnect();
		this.#stop();
	}
	attributeChangedCallback(name, was, is) {
		if (was === is || !this.isConnected || !this.#seeing) return;
		if (name === 'lang') return this.#build();
		this.#token = null;
		this.#live ? this.#again() : this.#start();
	}

	#chinese() { return /^zh\b/i.test(this.lang || this.closest('[lang]')?.lang || navigator.language); }
	#say(key, values) {
		return words[this.#chinese() ? 'zh' : 'en'][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
	}

	// ---- what is asked of the server

	// #hold gives the token, and asks for one where there is none. One request serves all who wait.
	#hold() {
		if (this.#token) return this.#token;
		if (!this.hasAttribute('token-url')) {
			const token = this.getAttribute('token');
			if (!token || token === this.#refused) throw failed(401);
			return this.#token = token;
		}
		return this.#asking ||= this.#ask().finally(() => { this.#asking = null; });
	}
	async #ask() {
		await after(Math.max(0, Math.min(5000, this.#asked + 5000 - Date.now()))); // a token that ends at once must not make a storm
		this.#asked = Date.now();
		const answer = await fetch(this.getAttribute('token-url'), {credentials: 'same-origin', cache: 'no-store', headers: {Accept: 'application/json'}});
		if (!answer.ok) throw failed(answer.status === 403 ? 401 : answer.status);
		const {token} = await answer.json();
		if (typeof token !== 'string') throw failed(500);
		return this.#token = token;
	}
	// #drop forgets a token that was not taken. With the attribute only the page can give another.
	#drop(token) {
		if (this.#token !== token) return;
		this.#token = null;
		if (this.hasAttribute('token-url')) return;
		this.#refused = token;
		this.#tell('fanfare:token');
	}
	async #call(path, options = {}, first = true) {
		const token = await this.#hold();
		const headers = {Authorization: 'Bearer ' + token, ...options.headers};
		const answer = await fetch(new URL('v1/inbox' + path, new URL(this.getAttribute('server') || home, document.baseURI)), {...options, headers, credentials: 'omit', cache: 'no-store'});
		if (answer.status === 401) {
			this.#drop(token);
			if (first) return this.#call(path, options, false);
		}
		if (!answer.ok) throw failed(answer.status, Number(answer.headers.get('Retry-After')) * 1000);
		return answer;
	}
	#post(path, body, keepalive = false) {
		return this.#call(path, {method: 'POST', keepalive, ...body && {body: JSON.stringify(body), headers: {'Content-Type': 'application/json'}}});
	}

	// ---- the life of it: load, follow, and again with patience

	#start() {
		if (this.#live || !this.isConnected || !this.hasAttribute('token') && !this.hasAttribute('token-url')) return;
		const life = this.#live = new AbortController();
		this.#run(life.signal);
	}
	#stop() {
		this.#live?.abort();
		this.#live = null;
		this.#again();
	}
	#again = () => { this.#break?.abort(); this.#wake?.(); };
	#visible = () => {
		clearTimeout(this.#hiding);
		// A browser has few connections to a server: a page that nobody looks at lets its own go.
		if (document.hidden) { this.#hiding = setTimeout(() => this.#stop(), 60000); return; }
		for (const row of this.#rows.values()) { this.#seeing.unobserve(row); this.#seeing.observe(row); }
		this.#start();
	};
	async #run(life) {
		let pause = 1000, fails = 0;
		while (!life.aborted) {
			const began = Date.now();
			try {
				await this.#load();
				await this.#follow(life, () => { fails = 0; this.#show(''); });
			} catch (e) {
				if (life.aborted) return;
				if (Date.now() - began > 10000) pause = 1000;
				if (e.status || ++fails > 1) this.#show(e.status === 401 ? 'signedOut' : e.status === 429 || e.status === 503 ? 'busy' : 'offline'); // proxies end streams now and then: that is no news
				await Promise.race([after(Math.max(e.wait || 0, pause * (0.75 + Math.random() / 2))), new Promise(go => { this.#wake = go; })]);
				pause = Math.min(pause * 2, e.status === 401 ? 300000 : 30000);
			}
		}
	}
	// #load takes what is in the inbox now, as far as it was shown.
	async #load() {
		for (let tries = 0; ; tries++) {
			const filter = this.#filter, marks = this.#marks;
			const page = await this.#page(Math.min(100, Math.max(20, this.#items.length)));
			if (filter !== this.#filter || marks !== this.#marks && tries < 3) continue; // it was asked before what was done since
			this.#dirty = 0;
			const had = new Map(this.#items.map((it, i) => [it.message, i]));
			const fresh = new Set(page.items.map(it => it.message));
			// What somebody is reading among the unread stays where it is until they look elsewhere.
			for (const it of this.#items) if (filter === 'unread' && this.#open.has(it.message) && it.read_at && !it.archived_at && !fresh.has(it.message)) page.items.splice(had.get(it.message), 0, it);
			this.#items = page.items;
			this.#next = page.next_cursor;
			this.#loaded = true;
			this.#count({unread: page.unread, unseen: page.unseen, total: this.#counts?.total});
			return this.#draw();
		}
	}
	async #page(limit, cursor) {
		const ask = new URLSearchParams({limit});
		if (this.#filter) ask.set('filter', this.#filter);
		if (cursor) ask.set('cursor', cursor);
		return (await this.#call('?' + ask)).json();
	}
	// #follow reads the stream until it ends.
	async #follow(life, begun) {
		const broken = this.#break = new AbortController();
		const signal = AbortSignal.any([life, broken.signal]);
		let dog = 0;
		const alive = () => { clearTimeout(dog); dog = setTimeout(() => broken.abort(), 45000); }; // a comment comes every 15 s
		alive();
		try {
			const answer = await this.#call('/stream', {signal, headers: this.#last ? {'Last-Event-ID': this.#last} : {}});
			const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
			begun();
			let text = '';
			for (;;) {
				const {value, done} = await reader.read();
				if (done) throw failed(0);
				alive();
				const events = (text += value).split('\n\n');
				text = events.pop();
				for (const e of events) this.#event(e, broken);
			}
		} catch (e) {
			if (!broken.signal.aborted || life.aborted) throw e;
		} finally {
			clearTimeout(dog);
			broken.abort();
		}
	}
	#event(lines, stream) {
		const e = {};
		for (const line of lines.split('\n')) {
			const at = line.indexOf(': ');
			if (at > 0) e[line.slice(0, at)] = line.slice(at + 2);
		}
		if (!e.event) return;
		const data = JSON.parse(e.data);
		if (e.id) this.#last = e.id;
		if (e.event === 'expired') this.#renew(stream);
		else if (e.event === 'message') this.#came(data);
		else if (e.event === 'count') {
			const was = this.#counts;
			this.#count(data);
			// Other numbers than ours: something was done elsewhere, on another page or by the sender.
			if (was.unread !== data.unread || was.total !== undefined && was.total !== data.total) this.#stale();
		}
	}
	// #renew gets another token before this one ends, and goes on with it.
	async #renew(stream) {
		if (!this.hasAttribute('token-url')) return this.#tell('fanfare:token');
		this.#token = null;
		try {
			await this.#hold();
			stream.abort();
		} catch { /* the stream ends with its token; then it is asked again */ }
	}
	#stale() {
		this.#dirty ||= setTimeout(() => this.#load().catch(this.#lost), 200);
	}
	#lost = e => { if (e.name !== 'AbortError') { this.#show(e.status === 401 ? 'signedOut' : 'offline'); this.#break?.abort(); } };

	// ---- what a person does

	#came(it) {
		if (this.#items.some(o => o.message === it.message)) return;
		if (!it.read_at) this.#count({unread: this.#counts.unread + 1, unseen: this.#counts.unseen + !it.seen_at});
		if (this.#counts.total !== undefined) this.#count({total: this.#counts.total + 1});
		this.#speak(this.#say('fresh', {title: it.title}));
		if (this.#filter === 'archived') return;
		this.#items.unshift(it);
		this.#draw();
	}
	// #mark shows what was done at once; if it could not be noted, what the server has is shown instead.
	async #mark(it, what) {
		this.#marks++;
		const now = new Date().toISOString(), c = {...this.#counts}, was = {...it};
		if (what === 'read' || what === 'click') it.read_at ||= it.seen_at = now;
		if (what === 'unread') it.read_at = null;
		if (what === 'archive') it.archived_at = now;
		if (what === 'unarchive') it.archived_at = null;
		const active = o => !o.archived_at;
		c.unread += (active(it) && !it.read_at) - (active(was) && !was.read_at);
		c.unseen = Math.max(0, c.unseen + (active(it) && !it.seen_at) - (active(was) && !was.seen_at));
		if (c.total !== undefined) c.total += active(it) - active(was);
		this.#count(c);
		this.#draw();
		await this.#sent('/' + encodeURIComponent(it.message) + '/' + what);
	}
	async #sent(path, body) {
		try {
			// A click outlives its page; where a browser cannot do that, it may be lost with it.
			await (path.endsWith('/click') ? this.#post(path, body, true).catch(e => { if (e.status) throw e; return this.#post(path); }) : this.#post(path, body));
		} catch (e) {
			e.status === 404 ? this.#stale() : this.#lost(e);
		}
		this.#marks++;
	}
	#toggle(it) {
		const opening = !this.#open.delete(it.message);
		if (opening) this.#open.add(it.message);
		opening && !it.read_at ? this.#mark(it, 'read') : this.#draw();
	}
	#move(it, what) {
		const at = this.#items.indexOf(it), near = this.#items[at + 1] || this.#items[at - 1];
		this.#items.splice(at, 1);
		this.#open.delete(it.message);
		this.#mark(it, what);
		if (what === 'archive') this.#speak(this.#say('gone'));
		(this.#rows.get(near?.message)?.querySelector('.title') || this.#part('heading')).focus();
	}
	#follows(event, it, url) {
		this.#mark(it, 'click');
		if (!this.#tell('fanfare:open', {message: it.message, url: url.href})) event.preventDefault();
	}
	async #readAll() {
		this.#marks++;
		const now = new Date().toISOString();
		for (const it of this.#items) it.read_at ||= it.seen_at = now;
		this.#count({unread: 0, unseen: 0});
		this.#draw();
		this.#part('heading').focus();
		this.#speak(this.#say('allRead'));
		await this.#sent('/read_all');
		this.#stale(); // of what is not on this page too
	}
	async #more(button) {
		const filter = this.#filter, at = this.#items.length;
		button.disabled = true;
		try {
			const page = await this.#page(20, this.#next);
			if (filter !== this.#filter) return;
			const had = new Set(this.#items.map(it => it.message));
			this.#items.push(...page.items.filter(it => !had.has(it.message)));
			this.#next = page.next_cursor;
			this.#draw();
			this.#rows.get(this.#items[at]?.message)?.querySelector('.title').focus();
		} catch (e) {
			this.#lost(e);
		} finally {
			button.disabled = false;
		}
	}
	#choose(filter) {
		this.#filter = filter;
		this.#items = [];
		this.#open.clear();
		this.#loaded = false;
		this.#draw();
		this.#load().catch(this.#lost);
	}
	// #see notes what came onto the screen, a little later all at once.
	#see(rows) {
		const fresh = rows.filter(r => r.isIntersecting).map(r => this.#items.find(it => it.message === r.target.dataset.message)).filter(it => it && !it.seen_at);
		if (!fresh.length || document.hidden) return;
		if (!this.#seen.size) setTimeout(() => {
			const messages = [...this.#seen];
			this.#seen.clear();
			this.#sent('/seen', {messages});
		}, 500);
		for (const it of fresh) {
			this.#seen.add(it.message);
			it.seen_at = new Date().toISOString();
			this.#count({unseen: Math.max(0, this.#counts.unseen - 1)});
		}
	}

	// ---- what is shown

	#part(name) { return this.#root.querySelector(`[part~=${name}]`); }
	#tell(name, detail) { return this.dispatchEvent(new CustomEvent(name, {detail, bubbles: true, composed: true, cancelable: name === 'fanfare:open'})); }
	#speak(text) { this.#part('status').textContent = text; }
	#count(changed) {
		const was = this.#counts || {}, now = this.#counts = {...was, ...changed};
		const {unread} = now, badge = this.#part('badge');
		badge.hidden = !unread;
		badge.firstChild.textContent = unread > 999 ? '999+' : unread;
		badge.lastChild.textContent = this.#say('count', {n: unread});
		this.#part('read-all').disabled = !unread;
		if (was.unread !== unread || was.unseen !== now.unseen || was.total !== now.total) this.#tell('fanfare:count', {...now});
	}
	#show(state) {
		if (state === this.#state) return;
		this.#state = state;
		const notice = this.#part('notice');
		notice.replaceChildren(...state ? [this.#say(state), ' ', make('button', {type: 'button', part: 'button', onclick: () => { this.#refused = null; this.#again(); }}, this.#say('again'))] : []);
		notice.hidden = !state;
		this.#empty();
	}
	#build() {
		this.#seeing?.disconnect();
		this.#seeing = new IntersectionObserver(rows => this.#see(rows), {threshold: 0.5});
		this.#rows.clear();
		const button = (part, text, onclick, more) => make('button', {type: 'button', part: 'button ' + part, onclick, ...more}, text);
		const more = button('more', this.#say('more'), () => this.#more(more));
		this.#root.replaceChildren(make('section', {part: 'inbox', lang: this.#chinese() ? 'zh-CN' : 'en', 'aria-labelledby': 'heading'},
			make('header', {part: 'header'},
				make('h2', {id: 'heading', part: 'heading', tabindex: -1}, this.#say('inbox'), ' ',
					make('span', {part: 'badge', class: 'badge', hidden: true}, make('span', {'aria-hidden': 'true'}), make('span', {class: 'unseen'}))),
				button('read-all', this.#say('readAll'), () => this.#readAll(), {disabled: true})),
			make('div', {part: 'filters', class: 'filters', role: 'group', 'aria-label': this.#say('show')},
				...[['', 'all'], ['unread', 'unread'], ['archived', 'archived']].map(([filter, word]) => button('filter', this.#say(word), () => this.#choose(filter), {'data-filter': filter}))),
			make('p', {part: 'status', class: 'unseen', role: 'status', 'aria-live': 'polite'}),
			make('div', {part: 'notice', class: 'notice', role: 'alert', hidden: true}),
			make('ul', {part: 'list', role: 'list', 'aria-labelledby': 'heading'}),
			make('p', {part: 'empty', class: 'empty'}),
			make('div', {class: 'more', hidden: true}, more)));
		const state = this.#state;
		this.#state = '';
		this.#show(state);
		if (this.#counts) this.#count({});
		this.#draw();
	}
	// #draw brings the rows to the items. Rows that stay are not touched, so that focus stays where it is.
	#draw() {
		for (const b of this.#root.querySelectorAll('[data-filter]')) b.setAttribute('aria-pressed', b.dataset.filter === this.#filter);
		const list = this.#part('list'), keep = new Set(this.#items.map(it => it.message));
		for (const [message, row] of this.#rows) if (!keep.has(message)) { this.#seeing.unobserve(row); row.remove(); this.#rows.delete(message); }
		let at = list.firstChild;
		for (const it of this.#items) {
			let row = this.#rows.get(it.message);
			const as = JSON.stringify([it.title, it.body, it.url, it.archived_at]);
			if (!row || row.shows !== as) {
				const other = this.#row(it);
				if (row) { if (at === row) at = other; row.replaceWith(other); this.#seeing.unobserve(row); }
				this.#rows.set(it.message, row = other);
				row.shows = as;
				this.#seeing.observe(row);
			}
			row.item = it;
			row.classList.toggle('new', !it.read_at);
			row.part.toggle('unread', !it.read_at);
			row.querySelector('.mark').textContent = it.read_at ? '' : this.#say('unread') + ' ';
			row.querySelector('[data-do=unread]').hidden = !it.read_at;
			row.querySelector('.title').setAttribute('aria-expanded', this.#open.has(it.message));
			row.querySelector('.body').hidden = !this.#open.has(it.message);
			if (row === at) at = at.nextSibling;
			else list.insertBefore(row, at);
		}
		this.#part('more').parentNode.hidden = !this.#next || !this.#items.length;
		this.#empty();
	}
	#empty() {
		const empty = this.#part('empty');
		empty.textContent = this.#say(this.#loaded ? 'none' : 'loading');
		empty.hidden = this.#items.length > 0 || !this.#loaded && !!this.#state; // a notice says why nothing is there
	}
	#row(it) {
		const id = 'b-' + it.message, row = make('li', {part: 'item', 'data-message': it.message});
		const when = new Date(it.sent_at), locale = this.#chinese() ? 'zh-CN' : 'en';
		const act = (what, act, word) => make('button', {type: 'button', part: 'button', 'data-do': what, onclick: () => act(row.item, what)}, this.#say(word));
		const body = make('div', {part: 'body', class: 'body', id, hidden: true}, make('p', {dir: 'auto'}, it.body));
		let url = null;
		try { url = it.url && new URL(it.url, document.baseURI); } catch { /* no address */ }
		if (url && /^https?:$/.test(url.protocol)) {
			body.append(make('a', {part: 'link', href: url.href, rel: 'noopener noreferrer', ...url.origin !== location.origin && {target: '_blank'}, onclick: e => this.#follows(e, row.item, url)},
				this.#say('open', {host: url.origin === location.origin ? url.pathname : url.host})));
		} else if (it.url) body.append(make('p', {dir: 'auto'}, it.url));
		body.append(make('div', {class: 'acts'}, act('unread', (o, what) => this.#mark(o, what), 'markUnread'),
			it.archived_at ? act('unarchive', (o, what) => this.#move(o, what), 'unarchive') : act('archive', (o, what) => this.#move(o, what), 'archive')));
		row.append(make('button', {type: 'button', part: 'title', class: 'title', 'aria-controls': id, onclick: () => this.#toggle(row.item)},
			make('b', {}, make('span', {class: 'mark unseen'}), make('bdi', {dir: 'auto'}, it.title)),
			make('time', {part: 'time', datetime: it.sent_at, title: when.toLocaleString(locale)}, when.toLocaleString(locale, {month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit'}))), body);
		return row;
	}
});
})();
