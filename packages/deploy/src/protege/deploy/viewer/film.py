"""The button that films the scene: the browser records what it draws and offers it as a file."""

MAX_RATE = 30  # frames per second
BITS_PER_SECOND = 8_000_000
# VP8 rather than VP9: it takes a fraction of the processor's time, which the simulation may need.

FILM_BUTTON = f"""<button id="protege-film" style="margin: 0.5em 0.6em; padding: 0.3em 0.8em; cursor: pointer" onclick="
if (window.protegeFilm) {{ window.protegeFilm.stop(); return; }}
const button = this, all = [...document.querySelectorAll('canvas')];
const scene = all.reduce((a, b) => a.width * a.height >= b.width * b.height ? a : b);
const kinds = ['video/webm;codecs=vp8', 'video/webm', 'video/mp4'];
const kind = window.MediaRecorder && kinds.find(x => MediaRecorder.isTypeSupported(x));
if (!kind) {{ button.textContent = 'this browser cannot film'; return; }}
const stream = scene.captureStream({MAX_RATE}), parts = [];
const recorder = new MediaRecorder(stream, {{mimeType: kind, videoBitsPerSecond: {BITS_PER_SECOND}}});
recorder.ondataavailable = event => {{ parts.push(event.data); recorder.bytes += event.data.size; }};
recorder.bytes = 0;
recorder.onstop = () => {{
  window.protegeFilm = null;
  stream.getTracks().forEach(track => track.stop());
  button.textContent = recorder.bytes ? 'film' : 'nothing was drawn; film again';
  if (!recorder.bytes) return;
  const link = document.createElement('a');
  link.href = window.URL.createObjectURL(new Blob(parts, {{type: kind}}));
  link.download = 'protege.' + (kind.includes('webm') ? 'webm' : 'mp4');
  link.click();
  setTimeout(() => window.URL.revokeObjectURL(link.href), 60000);
}};
recorder.start(1000);
window.protegeFilm = recorder;
button.textContent = 'stop filming';
">film</button>"""
"""Begins a film of the largest canvas, the scene without the panels; pressed again, ends it and saves it as `protege.webm`."""
