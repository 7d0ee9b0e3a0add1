/*
 * Makes the pages live. Everything works without it; it decides nothing and asks the server for
 * nothing but its own pages. Written for old browsers: ES5, and each feature is tried first.
 */
(function () {
  "use strict";

  var REFRESH_MILLIS = 5000;
  var body = document.body;
  var main = document.getElementById("main");
  if (!main || !document.querySelectorAll || !window.addEventListener) { return; }

  function each(list, what) { Array.prototype.forEach.call(list, what); }

  function text(name) { return body.getAttribute("data-" + name) || ""; }

  /* Moments: the server writes UTC, the reader gets their own time. */
  function localTimes(within) {
    each(within.querySelectorAll("time[datetime]"), function (item) {
      var at = new Date(item.getAttribute("datetime"));
      if (isNaN(at.getTime()) || !at.toLocaleString) { return; }
      item.title = item.textContent;
      item.textContent = at.toLocaleString(document.documentElement.lang);
    });
  }

  /* Live parts. */
  function isInUse(part) {
    var active = document.activeElement;
    if (active && active !== body && active !== main && part.contains(active)) { return true; }
    var chosen = window.getSelection && window.getSelection();
    return !!(chosen && !chosen.isCollapsed && chosen.anchorNode && part.contains(chosen.anchorNode));
  }

  function swap(part, fresh) {
    var open = [];
    each(part.querySelectorAll("details[open][id]"), function (item) { open.push(item.id); });
    if (part.innerHTML === fresh.innerHTML) { return; }
    part.innerHTML = fresh.innerHTML;
    open.forEach(function (id) {
      var item = document.getElementById(id);
      if (item) { item.setAttribute("open", ""); }
    });
    localTimes(part);
    copyButtons(part);
    dialogs(part);
    busyForms(part);
  }

  function refresh() {
    var parts = document.querySelectorAll("[data-live][id]");
    /* Nor while a form is under way: what it changes may be this very page. */
    if (!parts.length || document.hidden || document.querySelector("dialog[open], form[aria-busy]")) {
      return next();
    }
    var address = location.pathname + location.search;
    address += (location.search ? "&" : "?") + "fragment=live";
    var request = new XMLHttpRequest();
    request.open("GET", address);
    request.setRequestHeader("Accept", "text/html");
    request.timeout = 2 * REFRESH_MILLIS;
    request.onload = function () {
      var isOurs = request.status === 200 && !(request.responseURL && request.responseURL.indexOf("fragment=live") < 0);
      if (isOurs) {
        var box = document.implementation.createHTMLDocument("").createElement("div");
        box.innerHTML = request.responseText;
        each(parts, function (part) {
          var fresh = box.querySelector("#" + part.id);
          if (fresh && !isInUse(part)) { swap(part, fresh); }
        });
      }
      stale(!isOurs);
      /* The login is over: asking again would not bring it back. */
      if (request.status === 401 || (request.status === 200 && !isOurs)) { return; }
      next();
    };
    request.onerror = request.ontimeout = function () { stale(true); next(); };
    request.send();
  }

  function stale(is) {
    var line = document.getElementById("stale");
    if (!line || line.hidden === !is) { return; }
    line.textContent = is ? text("stale") : "";
    line.hidden = !is;
  }

  function next() { window.setTimeout(refresh, REFRESH_MILLIS); }

  /* Copy buttons beside what is worth copying. */
  function copyButtons(within) {
    if (!navigator.clipboard) { return; }
    each(within.querySelectorAll("button[data-copy]"), function (button) {
      var source = document.getElementById(button.getAttribute("data-copy"));
      if (!source) { return; }
      button.hidden = false;
      button.onclick = function () {
        navigator.clipboard.writeText(source.value || source.textContent).then(function () {
          button.textContent = text("copied");
        }, function () { button.hidden = true; });
      };
    });
  }

  /* Buttons that print the page. */
  function printButtons(within) {
    if (!window.print) { return; }
    each(within.querySelectorAll("button[data-print]"), function (button) {
      button.hidden = false;
      button.onclick = function () { window.print(); };
    });
  }

  /* Forms that ask once more: <form data-confirm="question">. */
  function ask(form, question, go) {
    var dialog = document.createElement("dialog");
    if (!dialog.showModal) {
      if (window.confirm(question)) { go(); }
      return;
    }
    var line = document.createElement("p");
    var yes = document.createElement("button");
    var no = document.createElement("button");
    var sender = form.querySelector("button[type=submit]");
    line.id = "dialog-text";
    line.textContent = question;
    dialog.setAttribute("aria-labelledby", "dialog-text");
    yes.type = no.type = "button";
    yes.className = "danger";
    yes.textContent = sender ? sender.textContent : "OK";
    no.textContent = text("cancel");
    yes.onclick = function () { dialog.close(); go(); };
    no.onclick = function () { dialog.close(); };
    dialog.onclose = function () { dialog.parentNode.removeChild(dialog); if (sender) { sender.focus(); } };
    dialog.appendChild(line);
    dialog.appendChild(yes);
    dialog.appendChild(no);
    body.appendChild(dialog);
    dialog.showModal();
    no.focus();
  }

  function dialogs(within) {
    each(within.querySelectorAll("form[data-confirm]"), function (form) {
      form.addEventListener("submit", function (event) {
        if (form.getAttribute("data-sure")) { return; }
        event.preventDefault();
        event.stopImmediatePropagation();
        ask(form, form.getAttribute("data-confirm"), function () {
          form.setAttribute("data-sure", "1");
          var sender = form.querySelector("button[type=submit]");
          if (form.requestSubmit) { form.requestSubmit(sender); } else { busy(form); form.submit(); }
        });
      });
    });
  }

  /* Progress while a form is under way: <form data-stage="what is being done">. */
  function busy(form) {
    var button = form.querySelector("button[type=submit]");
    if (form.getAttribute("aria-busy")) { return; }
    form.setAttribute("aria-busy", "true");
    var line = document.createElement("p");
    line.className = "busy";
    line.setAttribute("role", "status");
    form.appendChild(line);
    line.textContent = form.getAttribute("data-stage") || text("busy");
    /* Later, so that the pressed button's own value is still sent. */
    window.setTimeout(function () { if (button) { button.disabled = true; } }, 0);
  }

  function ready(form) {
    form.removeAttribute("aria-busy");
    form.removeAttribute("data-sure");
    each(form.querySelectorAll(".busy"), function (line) { line.parentNode.removeChild(line); });
    each(form.querySelectorAll("button[type=submit]"), function (button) { button.disabled = false; });
  }

  function busyForms(within) {
    each(within.querySelectorAll("form[method=post]"), function (form) {
      form.addEventListener("submit", function (event) {
        if (form.getAttribute("aria-busy")) { event.preventDefault(); return; }
        /* A download leaves the page where it is, so nothing would end the progress. */
        if (!isDownload) { busy(form); }
      });
      var isDownload = false;
      each(form.querySelectorAll("button[type=submit]"), function (button) {
        button.addEventListener("click", function () {
          isDownload = button.hasAttribute("data-download");
        });
      });
    });
  }

  /* A file into the field where it would be pasted: <div data-file="id of the field" hidden>. */
  function filePickers(within) {
    if (!window.FileReader) { return; }
    each(within.querySelectorAll("[data-file]"), function (picker) {
      var field = document.getElementById(picker.getAttribute("data-file"));
      var input = picker.querySelector("input[type=file]");
      if (!field || !input) { return; }
      picker.hidden = false;
      input.addEventListener("change", function () {
        var file = input.files && input.files[0];
        if (!file) { return; }
        var reader = new FileReader();
        reader.onload = function () { field.value = reader.result; };
        reader.readAsText(file);
      });
    });
  }

  /* Back from the browser's memory: nothing is under way any more. */
  window.addEventListener("pageshow", function () { each(document.forms, ready); });

  localTimes(main);
  copyButtons(main);
  printButtons(main);
  dialogs(body);
  busyForms(body);
  filePickers(main);
  var wrong = main.querySelector("[aria-invalid=true]");
  if (wrong) { wrong.focus(); }
  /* What answers a form cannot be asked for again. */
  if (body.hasAttribute("data-refresh")) { next(); }
}());
