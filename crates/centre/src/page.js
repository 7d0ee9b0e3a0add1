"use strict";
(function () {
  var line = document.getElementById("file-line");
  var file = document.getElementById("file");
  var text = document.getElementById("request");
  if (!line || !file || !text || !window.FileReader) { return; }
  line.hidden = false;
  file.addEventListener("change", function () {
    var chosen = file.files[0];
    // A request has some kilobytes; anything else is the wrong file.
    if (!chosen || chosen.size > 32768) { text.value = ""; return; }
    var reader = new FileReader();
    reader.onload = function () { text.value = reader.result; };
    reader.readAsText(chosen);
  });
}());
