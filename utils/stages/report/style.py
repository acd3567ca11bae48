"""The report's look: system fonts, one accent, light and dark, fit for an 800 pixel frame and for paper."""


def page_style() -> str:
    """The style sheet. base and candidate differ in lightness too, so they are told apart without colour."""
    return """
:root {
  color-scheme: light dark;
  --bg: #fff; --soft: #f5f7f9; --ink: #1b2430; --muted: #5d6877; --rule: #e1e5ea;
  --base: #a9b4c0; --candidate: #1763b6; --good: #12704a; --bad: #b3361b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #14181d; --soft: #1b2026; --ink: #e6eaef; --muted: #9aa6b5; --rule: #2d353f;
    --base: #6a7684; --candidate: #6cb0ff; --good: #5cc896; --bad: #ff9377;
  }
}
body {
  margin: 0 auto; max-width: 1040px; padding: 36px 28px; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
h1 { font-size: 27px; line-height: 1.25; letter-spacing: -.01em; margin: 4px 0 12px; text-wrap: balance }
h2 { font-size: 19px; margin: 48px 0 14px }
h3, figcaption { font-size: 14px; font-weight: 600; margin: 0 0 6px; white-space: pre-wrap; overflow-wrap: anywhere }
p { margin: 0 0 10px }
small, dt, th { color: var(--muted); font-size: 13px; font-weight: 400 }
td small, figure > small { display: block }
.good { color: var(--good) }
.bad { color: var(--bad) }
.fate .good, .fate .bad { border: 1px solid; border-radius: 9px; padding: 0 9px; margin-right: 8px; font-weight: 600 }
.notes { background: var(--soft); border-left: 3px solid var(--base); margin: 20px 0; padding: 10px 16px 10px 34px }
.cols { display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 28px 40px }
.three { grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 12px 28px }
table { border-collapse: collapse; width: 100% }
th, td { text-align: right; vertical-align: top; padding: 7px 0 7px 16px }
th, td, dl div { border-bottom: 1px solid var(--rule) }
th:first-child, td:first-child, td[colspan] { text-align: left; padding-left: 0 }
.cols td { white-space: nowrap }
.big td { font-size: 19px }
.big td:first-child, .big td[colspan] { font-size: inherit }
.facts { columns: 290px; column-gap: 40px }
dl { margin: 0 0 24px; font-size: 13px }
dl div { display: flex; justify-content: space-between; gap: 16px; padding: 3px 0 }
dd { margin: 0; text-align: right; overflow-wrap: anywhere; max-height: 9em; overflow: auto }
figure { margin: 0; min-width: 0 }
svg { display: block; width: 100%; max-width: 490px }
svg text { fill: var(--muted); font-family: inherit !important }
i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 6px 0 12px }
i { background: var(--base) }
article i { margin-left: 0 }
i.c { background: var(--candidate) }
article { border-top: 1px solid var(--rule); margin-top: 14px; padding-top: 14px }
.said { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 14px; max-height: 21em; overflow: auto }
figure, tr, article, dl { break-inside: avoid }
@media print { body { padding: 0; font-size: 12px } .said, dd { max-height: none } }
"""
