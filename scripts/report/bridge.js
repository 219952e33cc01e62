"use strict";
// In Snakemake's report: opens what its pages link to, beside the report, and shows the first page.
(function () {
  function show(path) {
    const found = Object.keys(results).find(key => key.endsWith("/" + path));
    if (found === undefined || results[found].mime_type !== "text/html") return false;
    app.setView({ content: "html", contentPath: results[found].data_uri, resultPath: found });
    return true;
  }
  addEventListener("message", event => {
    const page = document.querySelector("iframe"), path = event.data && event.data.open;
    if (!page || event.source !== page.contentWindow || typeof path !== "string") return;
    // Files beside the report alone: no other place, no scheme.
    if (/^[/\\]|(^|\/)\.\.(\/|$)|^[^/#?]*:/.test(path)) return;
    event.source.postMessage({ opened: path }, "*");
    if (!show(path)) open(new URL(path, location.href), "_blank", "noopener");
  });
  const first = document.currentScript.dataset.first;
  // The report draws itself first.
  setTimeout(() => show(first), 0);
})();
