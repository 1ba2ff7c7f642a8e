/*!
 * Affluent tracker: tells the collector what visitors of a web page do. No dependencies.
 *
 *   <script src="/affluent.js"></script>
 *   <script>affluent.init({ url: "https://collect.shop.example/collect/events" });</script>
 *
 * The collector must name the page's origin: [collect] origins = ["https://shop.example"].
 *
 *   affluent.init({
 *     url,                  where the collector takes events
 *     token,                a token of [[collect.tokens]]; pages are public, so give it a rate
 *     consent: true,        false: nothing is kept or sent before affluent.consent(true)
 *     cartIdleMs: 1800000   a cart left alone for this long is reported as cart_abandoned
 *   })
 *   affluent.track("conversion", { order: "o-17", value: "49.90" })   anything you name
 *   affluent.track("cart_updated", { items: 2, value: "49.90" })      0 items: the cart is empty again
 *   affluent.identify("user-42")      from now on; identify(null) after signing out
 *   affluent.consent(false)           forgets the visitor and everything that was not sent yet
 *
 * By itself it sends page_view (also where a page changes its address by script), content_viewed for
 * every <div data-affluent-content="article-7"> that was half visible for a second, and cart_abandoned.
 *
 * Events wait in localStorage (500 at most, the oldest give way) until the collector has acknowledged
 * them, also across pages and while offline. Each has its own event_id, so what is sent twice is
 * stored once. What waits when a page is left is sent as a beacon, and again by the next page, as nobody
 * hears whether a beacon arrived.
 */
(function (window, document) {
  "use strict";
  var SESSION_MS = 30 * 60 * 1000;
  var QUEUE_MAX = 500;
  var BATCH_MAX = 50;
  var BYTES_MAX = 60000; // what browsers take in one beacon
  var FLUSH_MS = 500;
  var RETRY_FIRST_MS = 500;
  var RETRY_MAX_MS = 60000;
  var VISIBLE_MS = 1000;

  var options = null;
  var allowed = false;
  var memory = {}; // where localStorage is forbidden
  var timer = 0;
  var cartTimer = 0;
  var sending = false;
  var failures = 0;
  var address = "";
  var beacon = "";
  var activeAt = 0;

  function load(name) {
    try {
      return JSON.parse(window.localStorage.getItem("affluent." + name));
    } catch (_) {
      return name in memory ? memory[name] : null;
    }
  }

  function save(name, value) {
    try {
      if (value === null) window.localStorage.removeItem("affluent." + name);
      else window.localStorage.setItem("affluent." + name, JSON.stringify(value));
    } catch (_) {
      memory[name] = value;
    }
  }

  // A UUID of version 7: the time, then chance.
  function uuid() {
    var bytes = window.crypto.getRandomValues(new Uint8Array(16));
    var now = Date.now();
    for (var i = 5; i >= 0; i--) {
      bytes[i] = now % 256;
      now = Math.floor(now / 256);
    }
    bytes[6] = (bytes[6] & 15) | 112;
    bytes[8] = (bytes[8] & 63) | 128;
    var hex = "";
    for (var j = 0; j < 16; j++) hex += (j === 4 || j === 6 || j === 8 || j === 10 ? "-" : "") + (bytes[j] + 256).toString(16).slice(1);
    return hex;
  }

  function anonymous() {
    var id = load("anonymous");
    if (!id) save("anonymous", (id = uuid()));
    return id;
  }

  function session(now) {
    var last = load("session");
    var id = last && now - last.at < SESSION_MS ? last.id : uuid();
    save("session", { id: id, at: now });
    return id;
  }

  function device() {
    var agent = window.navigator.userAgent;
    if (/iPad|Tablet|Android(?!.*Mobile)/i.test(agent)) return "tablet";
    return /Mobi|iPhone|Android/i.test(agent) ? "phone" : "desktop";
  }

  function track(type, props, at) {
    if (!allowed) return;
    var now = Date.now();
    var queue = load("queue") || [];
    queue.push({
      event_id: uuid(),
      event_type: type,
      occurred_at: new Date(at || now).toISOString(),
      user_id: load("user"),
      anonymous_id: anonymous(),
      session_id: session(now),
      url: window.location.href,
      referrer: document.referrer || null,
      device: device(),
      properties: props || {}
    });
    save("queue", queue.slice(-QUEUE_MAX));
    active(true);
    if (type === "conversion") cart(null);
    else if (type === "cart_updated") cart(props && props.items === 0 ? null : props || {});
    schedule(queue.length >= BATCH_MAX ? 0 : FLUSH_MS);
  }

  // --- sending

  function schedule(ms) {
    if (failures || sending) return; // a retry is planned, or follows
    window.clearTimeout(timer);
    timer = window.setTimeout(flush, ms);
  }

  function batch() {
    var events = (load("queue") || []).slice(0, BATCH_MAX);
    var text = JSON.stringify(events);
    while (events.length > 1 && text.length > BYTES_MAX) {
      events = events.slice(0, Math.ceil(events.length / 2));
      text = JSON.stringify(events);
    }
    return { events: events, text: text };
  }

  function target() {
    return options.token ? options.url + "?token=" + encodeURIComponent(options.token) : options.url;
  }

  function flush() {
    window.clearTimeout(timer);
    if (!allowed || sending) return;
    var sent = batch();
    if (!sent.events.length) return;
    sending = true;
    window
      .fetch(target(), {
        method: "POST",
        // Text needs no question beforehand (CORS preflight).
        headers: { "Content-Type": "text/plain;charset=UTF-8" },
        body: sent.text,
        credentials: "omit",
        keepalive: sent.text.length < BYTES_MAX
      })
      .then(function (response) {
        // 400: every event is malformed; 413: one event is too large. Neither gets better.
        if (response.ok || response.status === 400 || response.status === 413) return 0;
        var seconds = Number(response.headers.get("Retry-After"));
        return seconds > 0 ? seconds * 1000 : 1;
      })
      .catch(function () {
        return 1;
      })
      .then(function (waitMs) {
        sending = false;
        if (waitMs) return retry(waitMs);
        failures = 0;
        var gone = {};
        sent.events.forEach(function (event) {
          gone[event.event_id] = true;
        });
        if (!allowed) return;
        var rest = (load("queue") || []).filter(function (event) {
          return !gone[event.event_id];
        });
        save("queue", rest.length ? rest : null);
        if (rest.length) schedule(0);
      });
  }

  function retry(atLeastMs) {
    var ms = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * Math.pow(2, failures++));
    window.clearTimeout(timer);
    timer = window.setTimeout(flush, Math.max(atLeastMs, ms * (0.5 + Math.random() / 2)));
  }

  function leave() {
    if (!allowed || !window.navigator.sendBeacon) return;
    var sent = batch();
    // Leaving a page is told twice: as hidden, and as gone.
    if (!sent.events.length || sent.text === beacon) return;
    beacon = sent.text;
    window.navigator.sendBeacon(target(), sent.text);
  }

  // --- the cart: reported by whichever page notices that it was left alone

  function cart(props) {
    save("cart", props ? { at: Date.now(), props: props } : null);
    watchCart();
  }

  function watchCart() {
    window.clearTimeout(cartTimer);
    var left = allowed && load("cart");
    if (!left) return;
    var due = left.at + options.cartIdleMs - Date.now();
    if (due > 0) {
      cartTimer = window.setTimeout(watchCart, due);
    } else {
      save("cart", null);
      track("cart_abandoned", left.props, left.at + options.cartIdleMs);
    }
  }

  // The visitor did something: the cart is not left alone.
  function active(now) {
    if (!allowed || (now !== true && Date.now() - activeAt < 1000)) return;
    activeAt = Date.now();
    var left = load("cart");
    if (left) {
      left.at = activeAt;
      save("cart", left);
    }
  }

  // --- what is sent by itself

  function pageView() {
    if (!allowed || window.location.href === address) return;
    address = window.location.href;
    track("page_view", { title: document.title, language: window.navigator.language });
  }

  function watchContent() {
    if (!window.IntersectionObserver) return;
    var waiting = new Map();
    var observer = new IntersectionObserver(
      function (entries) {
        entries.forEach(function (entry) {
          var element = entry.target;
          window.clearTimeout(waiting.get(element));
          if (!entry.isIntersecting) return;
          waiting.set(
            element,
            window.setTimeout(function () {
              if (!allowed) return;
              observer.unobserve(element);
              track("content_viewed", { content_id: element.getAttribute("data-affluent-content") });
            }, VISIBLE_MS)
          );
        });
      },
      { threshold: 0.5 }
    );
    document.querySelectorAll("[data-affluent-content]").forEach(function (element) {
      observer.observe(element);
    });
  }

  function start() {
    pageView();
    watchCart();
    schedule(0);
  }

  function init(given) {
    if (options) return;
    options = { url: given.url, token: given.token, cartIdleMs: given.cartIdleMs || SESSION_MS };
    var decided = load("consent");
    allowed = decided === null ? given.consent !== false : decided;
    ["pushState", "replaceState"].forEach(function (name) {
      var original = window.history[name];
      window.history[name] = function () {
        var result = original.apply(this, arguments);
        pageView();
        return result;
      };
    });
    window.addEventListener("popstate", pageView);
    window.addEventListener("online", flush);
    window.addEventListener("pagehide", leave);
    document.addEventListener("visibilitychange", function () {
      if (document.visibilityState === "hidden") leave();
    });
    ["pointerdown", "keydown", "scroll"].forEach(function (name) {
      document.addEventListener(name, active, { passive: true });
    });
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watchContent);
    else watchContent();
    start();
  }

  function consent(given) {
    save("consent", !!given);
    if (allowed === !!given) return;
    allowed = !!given;
    address = "";
    failures = 0;
    if (allowed) return options && start();
    window.clearTimeout(timer);
    window.clearTimeout(cartTimer);
    ["anonymous", "session", "queue", "user", "cart"].forEach(function (name) {
      save(name, null);
    });
  }

  window.affluent = {
    init: init,
    track: function (type, props) {
      track(type, props);
    },
    identify: function (userId) {
      if (allowed) save("user", userId === null || userId === undefined ? null : String(userId));
    },
    consent: consent
  };
})(window, document);
