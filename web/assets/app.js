// Keeps a page live. It is a convenience: without it the page is the same and reloads itself. Text from outside is only ever set
// as text; the one thing taken as HTML is this site's own page, which the server has escaped.
'use strict';

const main = document.getElementById('main');
const words = JSON.parse(main.dataset.words);
const number = n => String(n).replace('-', '−').replace(/\B(?=(\d{3})+(?!\d))/g, ',');
const say = (key, values) => (words[key] || key).replace(/\{(\w+)\}/g, (_, name) => values[name]);
const term = (kind, word) => words[kind + '.' + word] || word;

function duration(seconds) {
	if (!(seconds < 100 * 86400)) return words['unit.long'];
	let left = Math.max(0, Math.ceil(seconds));
	const out = [];
	for (const [unit, size] of [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]]) {
		const n = Math.floor(left / size);
		if ((n > 0 || size === 1 && !out.length) && out.length < 2) {
			out.push(say('unit.' + unit, {n}));
			left %= size;
		} else if (out.length) break;
	}
	return out.join(' ');
}

// Times: the server writes UTC, a person reads their own clock.
function clock(text) {
	const at = new Date(text), two = n => String(n).padStart(2, '0');
	return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
function localTimes() {
	for (const time of document.querySelectorAll('time:not([title])')) {
		time.title = time.textContent;
		time.textContent = time.dataset.to === 'minute' ? clock(time.dateTime).slice(0, -3) : clock(time.dateTime);
	}
}

function set(selector, text) {
	for (const e of document.querySelectorAll(selector)) if (e.textContent !== text) e.textContent = text;
}

// lost shows that the numbers may be old.
function lost(yes) { document.getElementById('lost').hidden = !yes; }

// refresh takes the parts of the page as the server makes them now. It answers whether that went well.
let refreshing = null;
function refresh() {
	refreshing = refreshing || take().catch(() => false).finally(() => { refreshing = null; });
	return refreshing;
}
async function take() {
	const answer = await fetch(main.dataset.here, {headers: {Accept: 'text/html'}});
	if (answer.status === 401 || answer.status === 404) { location.assign(main.dataset.here); return true; }
	if (!answer.ok) return false;
	const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
	const focused = document.activeElement;
	for (const part of document.querySelectorAll('[data-part]')) {
		const other = fresh.getElementById(part.id);
		if (!other) { location.assign(main.dataset.here); return true; } // another page by now: a draft has become a balance
		const had = part.contains(focused);
		part.replaceChildren(...other.childNodes);
		if (had) (part.querySelector('button, a') || main).focus();
	}
	for (const part of fresh.querySelectorAll('[data-part]')) {
		if (!document.getElementById(part.id)) { location.assign(main.dataset.here); return true; }
	}
	localTimes();
	return true;
}

// show puts one progress on the page.
let phase = null, asked = 0, askedFor = '', said = 0;
function show(p) {
	const c = p.counts;
	for (const [name, n] of Object.entries(c)) set(`[data-count="${name}"]`, number(n));
	const over = c.audience - c.remaining - c.in_flight;
	set('[data-live=share]', c.audience ? (Math.floor(over * 1000 / c.audience) / 10).toFixed(1) : '0.0');
	set('[data-live=rate]', number(Math.round(p.rate_per_second || 0)));
	set('[data-live=eta]', p.eta_seconds == null ? '–' : duration(p.eta_seconds));
	if (p.batches) {
		set('[data-live=batches-done]', number(p.batches.done));
		set('[data-live=batches-total]', number(p.batches.total));
	}
	draw(parts.map(name => [name, c[name]]), c.audience);
	reads(c);
	// The page's own sum beside the server's evidence.
	const good = p.balanced && c.audience === c.sent + c.failed + c.skipped + c.uncertain + c.in_flight + c.remaining;
	for (const e of document.querySelectorAll('[data-verdict]')) e.hidden = (e.dataset.verdict === 'balanced') !== good;
	waiting(p.waiting);
	follow(p);
}

const parts = ['sent', 'failed', 'skipped', 'uncertain', 'in_flight', 'remaining'];
function draw(terms, whole) {
	const widths = terms.map(([, n]) => n > 0 ? Math.max(4, 1000 * n / Math.max(whole, 1)) : 0);
	const scale = 1000 / Math.max(1, widths.reduce((a, b) => a + b, 0));
	let x = 0;
	terms.forEach(([name], i) => {
		const rect = document.querySelector(`[data-bar="${name}"]`);
		if (!rect) return;
		rect.setAttribute('x', x);
		rect.setAttribute('width', widths[i] * scale);
		x += widths[i] * scale;
	});
}

// reads shows who has read, who has only seen it, and who has not.
function reads(c) {
	const seen = Math.max(c.seen, c.read);
	const terms = [['read', c.read], ['looked', seen - c.read], ['not_seen', Math.max(0, c.sent - seen)]];
	for (const [name, n] of terms) set(`[data-live="${name}"]`, number(n));
	set('[data-live=read-share]', (Math.min(1000, Math.floor(c.read * 1000 / Math.max(c.sent, 1))) / 10).toFixed(1));
	draw(terms, c.sent);
}

function waiting(w) {
	for (const e of document.querySelectorAll('[data-live=waiting]')) e.hidden = !w;
	if (!w) return;
	set('[data-live=waiting-reason]', term('waiting', w.reason));
	set('[data-live=waiting-provider]', w.provider || '');
	set('[data-live=waiting-detail]', w.detail || '');
	set('[data-live=waiting-next]', w.next_try_at ? words['live.next_try'] + ' ' + clock(w.next_try_at) : '');
}

// follow asks the server for what only it can make: the buttons after a change of phase at once, the failures at most every 5 s.
function follow(p) {
	const now = Date.now(), c = p.counts;
	const key = [c.failed > 0 && c.failed, c.doubted > 0, c.seen > 0, p.waiting && p.waiting.reason].join();
	const turned = phase !== null && p.phase !== phase;
	if (turned || phase !== null && key !== askedFor && now - asked > 5000) {
		asked = now;
		askedFor = key;
		refresh();
	} else if (phase === null) {
		askedFor = key;
		if (p.phase !== shown()) refresh();
	}
	phase = p.phase;
	// A screen reader hears of a new phase at once and of numbers every 15 s, not every second.
	if (turned || now - said > 15000) {
		said = now;
		set('#said', say('live.said', {phase: term('phase', p.phase), sent: number(c.sent), failed: number(c.failed), remaining: number(c.remaining)}));
	}
}
function shown() {
	const badge = document.querySelector('#heading [data-phase]');
	return badge && badge.dataset.phase;
}

// listen follows the stream until the message is done; from then on only its reads change, and the page is asked for them. A stream that breaks is opened again; one that is refused is looked into first.
let listening = false;
function listen() {
	listening = true;
	const stream = new EventSource(main.dataset.stream);
	stream.addEventListener('progress', event => {
		lost(false);
		const p = JSON.parse(event.data);
		show(p);
		if (p.status === 3) {
			stream.close();
			listening = false;
			refresh();
		}
	});
	stream.addEventListener('error', () => {
		lost(true);
		if (stream.readyState === EventSource.CLOSED) refresh().then(() => setTimeout(listen, 3000));
	});
}

localTimes();
if (main.dataset.stream) listen();
if (Number(main.dataset.every)) {
	setInterval(() => { if (!document.hidden && !listening) refresh().then(ok => lost(!ok)); }, Number(main.dataset.every));
}
