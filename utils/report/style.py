"""The report's look: system fonts, one accent, light and dark, fit for an 800 pixel frame and for paper."""


def page_style() -> str:
    """The style sheet. base and candidate differ in lightness too, so they are told apart without colour."""
    return """
:root{--bg:#fff;--ink:#1b2430;--muted:#5d6877;--rule:#e1e5ea;--base:#a9b4c0;--candidate:#1763b6;
--good:#12704a;--bad:#b3361b}
@media(prefers-color-scheme:dark){:root{--bg:#14181d;--ink:#e6eaef;--muted:#9aa6b5;--rule:#2d353f;--base:#6a7684;
--candidate:#6cb0ff;--good:#5cc896;--bad:#ff9377}}
body{margin:0 auto;max-width:1040px;padding:36px 28px;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums}
h1{font-size:27px;line-height:1.25;margin:0}
h2{font-size:19px;margin:48px 0 14px}h3,figcaption{font-size:14px;font-weight:600;margin:0 0 6px;white-space:pre-wrap}
small,dt,th{color:var(--muted);font-size:13px;font-weight:400}td small,figure>small{display:block}
.True{color:var(--good)}.False{color:var(--bad)}.fate b{border:1px solid;border-radius:9px;
padding:0 9px;margin-right:8px}
.notes{border-left:3px solid var(--base);padding-left:30px}
.cols{--w:330px;display:grid;grid-template-columns:repeat(auto-fit,minmax(var(--w),1fr));gap:28px 40px}
.three{--w:220px}
table{border-collapse:collapse;width:100%}th,td{text-align:right;vertical-align:top;padding:7px 0 7px 16px}
th,td,dl div,article{border-bottom:1px solid var(--rule)}
:is(th,td):first-child,td[colspan]{text-align:left;padding-left:0}
.big td:not(:first-child,[colspan]){font-size:19px}
.facts{columns:290px;column-gap:40px}dl{margin:0 0 24px;font-size:13px}figure,tr,article,dl{break-inside:avoid}
dl div{display:flex;justify-content:space-between;gap:16px;padding:3px 0}
dd{margin:0;text-align:right;overflow-wrap:anywhere}
figure{margin:0;min-width:0}svg{width:100%;max-width:490px}svg text{fill:var(--muted);font-family:inherit!important}
i{display:inline-block;width:10px;height:10px;margin:0 5px 0 12px;background:var(--base)}.c{background:var(--candidate)}
article{padding:14px 0 20px}
.said{white-space:pre-wrap;overflow-wrap:anywhere;font-size:14px}
"""
