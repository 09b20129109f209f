"""The look of the report's page: light and dark, no file beside it."""

CSS = """
:root{color-scheme:light dark;--bg:#fcfcfb;--fg:#1d1f21;--soft:#5b6066;--rule:#d9dcdf;--card:#f2f3f3;
--link:#0a58a5;--bad:#a3260e;--c1:#0b62a4;--c2:#b8500a;--c3:#5a7d22;--grid:#e4e6e8;--limit:#8a1c7c}
@media (prefers-color-scheme:dark){:root{--bg:#16181a;--fg:#e8e8e6;--soft:#a7adb3;--rule:#3a3f44;--card:#202326;
--link:#8ec3f5;--bad:#ff9a84;--c1:#6db3f2;--c2:#f5a35c;--c3:#a6cf6a;--grid:#2c3034;--limit:#e58bd9}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
main,header,footer{max-width:70rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.5rem}
h1{font-size:1.6rem;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.25rem 0 .5rem}
p{margin:.35rem 0}
.soft,.note{color:var(--soft)}
a{color:var(--link)}
a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:.5rem;background:var(--bg);padding:.25rem .5rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;max-width:min(50rem,calc(100vw - 2.5rem));color:var(--soft);padding-bottom:.4rem}
th,td{text-align:left;padding:.45rem .9rem .45rem 0;border-bottom:1px solid var(--rule);vertical-align:middle}
thead th{font-size:.85rem;color:var(--soft);font-weight:600;vertical-align:bottom}
td small,th small{display:block;color:var(--soft);font-weight:400;overflow-wrap:break-word}
.wide th,.wide td{min-width:5.5rem}
.bad{color:var(--bad);font-weight:600}
.bad small{color:inherit}
img{display:block;border-radius:4px;background:var(--card)}
.face{width:144px;height:72px}
.cards{list-style:none;margin:0;padding:0;display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr))}
.cards li{background:var(--card);border-radius:8px;padding:.75rem}
.cards img{width:100%;height:auto;margin-bottom:.5rem}
.cards p{margin:.1rem 0}
details{border-top:1px solid var(--rule);padding:.5rem 0 1rem}
summary{cursor:pointer;font-size:1.1rem;font-weight:600;padding:.4rem 0}
figure{margin:1rem 0 0}
.plots{display:grid;gap:.5rem 2rem;grid-template-columns:repeat(auto-fit,minmax(min(27rem,100%),1fr))}
figcaption{font-weight:600;margin-bottom:.25rem}
svg{display:block;width:100%;height:auto;}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
.axis{stroke:var(--soft);stroke-width:1}
.grid{stroke:var(--grid);stroke-width:1}
.limit{stroke:var(--limit);stroke-width:1.5;stroke-dasharray:2 4}
.l1,.l2,.l3{fill:none;stroke-width:1.8;stroke-linejoin:round}
.l1{stroke:var(--c1)}.l2{stroke:var(--c2);stroke-dasharray:7 3}.l3{stroke:var(--c3);stroke-dasharray:2 2}
.d1,.b1{fill:var(--c1)}.d2,.b2{fill:var(--c2)}.d3,.b3{fill:var(--c3)}
.b1,.b2,.b3{opacity:.22}
.on{fill:var(--c1)}.off{fill:var(--c2)}.stay{fill:var(--soft)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:.25rem 0 0;padding:0;font-size:.9rem}
.key{display:inline-block;width:1.6rem;height:0;border-top:3px solid;margin-right:.45rem;vertical-align:middle}
.k1{border-color:var(--c1)}.k2{border-top-style:dashed;border-color:var(--c2)}
.k3{border-top-style:dotted;border-color:var(--c3)}
.limit-key{border-top-style:dotted;border-color:var(--limit)}
.bar{display:inline-block;width:1.1rem;margin-right:.45rem}
.bar.on{height:.9rem;background:var(--c1)}.bar.off{height:.35rem;background:var(--c2)}
.bar.stay{height:.15rem;background:var(--soft)}
dl{display:grid;grid-template-columns:minmax(7rem,auto) 1fr;gap:.4rem 1rem}
dt{font-weight:600}dd{margin:0}
footer{padding:2rem 1.25rem;color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
@media (max-width:40rem){dl{display:block}dd{margin-bottom:.5rem}}
@media print{.skip{display:none}body{background:none}}
"""
