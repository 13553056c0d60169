"""The style of the page, for light and dark, for a desk and for a phone."""

import base64
import hashlib

# Lines: Okabe and Ito (2008), told apart with any colour vision, darkened on white where they were
# too pale for a line and lightened on black where they were too dark.
PALETTE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b2230;--dim:#5b6472;--rule:#d8dde6;--soft:#f4f6f9;
--bad:#b3261e;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b8558f;--c4:#2e96d6;--c5:#b98200;
--c6:#3a3a3a}
@media (prefers-color-scheme:dark){:root{--bg:#14171d;--fg:#e4e8ee;--dim:#9aa4b2;--rule:#333b48;
--soft:#1c212a;--bad:#ff8a80;--c0:#4fa9e6;--c1:#ff8b4a;--c2:#2ec79b;--c3:#e59bc6;--c4:#9ad4f7;
--c5:#efb73e;--c6:#e8e8e8}}
"""
DRAWING = """
svg text{font-size:12px;fill:var(--fg);text-anchor:middle}
svg text.left{text-anchor:end}
svg text.dim{fill:var(--dim)}
path{fill:none;stroke-linejoin:round;stroke-linecap:round}
.grid{stroke:var(--rule);stroke-width:1}
.axis{stroke:var(--dim);stroke-width:1}
.reference{stroke:var(--dim);stroke-width:1;stroke-dasharray:2 3}
.line{stroke:var(--c);stroke-width:2}
.seed{stroke:var(--c);stroke-width:.9;opacity:.5}
.d1{stroke-dasharray:5 4}
.band{fill:var(--c);opacity:.16}
.mark{fill:var(--c)}
.plain{--c:var(--dim)}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}
.c5{--c:var(--c5)}.c6{--c:var(--c6)}
"""
_PAGE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:76rem;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;
overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.2rem;margin:2.5rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p,ul{margin:.5rem 0}
.dim,.caption{color:var(--dim)}
.remarks{margin:.75rem 0;padding:.5rem 1rem .5rem 2rem;border-left:3px solid var(--bad);
background:var(--soft);overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:1rem 0}
a{color:var(--c0)}
.wide{overflow-x:auto;margin:.5rem 0;background:
linear-gradient(var(--bg),var(--bg)) right/1.5rem 100% no-repeat local,
linear-gradient(to left,var(--rule),transparent) right/.75rem 100% no-repeat scroll}
table{border-collapse:collapse;font-size:.875rem;line-height:1.4;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .75rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th{font-weight:600;white-space:nowrap}
thead th{border-bottom:2px solid var(--rule)}
td.figure,th.figure{text-align:right;white-space:nowrap}
td.short{white-space:nowrap}
td.long{min-width:12rem;max-width:24rem;overflow-wrap:anywhere}
th:first-child,td:first-child{position:sticky;left:0;background:var(--bg);padding-left:0}
td.long:first-child{max-width:14rem}
@media (max-width:40rem){th,td{padding:.35rem .5rem}
td:first-child{min-width:5rem;max-width:8rem;white-space:normal;overflow-wrap:anywhere}}
.facets{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));
gap:.5rem 1.5rem}
.facets>div{max-width:30rem}
figure{margin:1rem 0 2rem}
.caption{font-size:.8125rem;margin:.25rem 0}
.caption b{color:var(--fg)}
svg{display:block;width:100%;height:auto;overflow:hidden}
.legend{display:flex;flex-wrap:wrap;gap:.15rem 1.25rem;padding:0;list-style:none;
font-size:.8125rem;max-height:11rem;overflow-y:auto}
.legend li{display:flex;gap:.5rem;align-items:flex-start;min-width:0}
.legend span{min-width:0;overflow-wrap:anywhere}
.key{flex:none;width:30px;height:14px;margin-top:.2rem}
details{margin:.5rem 0;border:1px solid var(--rule);border-radius:.4rem}
summary{cursor:pointer;padding:.5rem .75rem;overflow-wrap:anywhere}
details>div{padding:0 .75rem .75rem}
pre{margin:.25rem 0;padding:.5rem .75rem;background:var(--soft);border-radius:.3rem;
font:.8125rem/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
white-space:pre-wrap;overflow-wrap:anywhere;tab-size:4}
dl{display:grid;grid-template-columns:minmax(6rem,max-content) minmax(0,1fr);gap:.15rem 1rem;
margin:.5rem 0;font-size:.875rem}
dt{color:var(--dim)}
dd{margin:0;overflow-wrap:anywhere}
.example{padding:.75rem 0;border-top:1px solid var(--rule)}
.example:first-child{border-top:0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr));gap:0 1rem}
.label{font-size:.8125rem;color:var(--dim);margin:.35rem 0 0}
"""
STYLE = PALETTE + _PAGE + DRAWING

_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Nothing is loaded, nothing runs, and no style counts but the one above.
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
