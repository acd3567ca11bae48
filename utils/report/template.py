"""The report's page as a Jinja2 template."""


def page_template() -> str:
    """The template: a line that starts with % is a statement, [[ ]] prints. The class True is good news, False bad.

    Not the usual {{ }}: workflow engines read those, and this text travels inside a workflow. Names in it: those of
    report_facts; style, versions, points; the charts bars(rows, digits) and line(points, x label, marked x);
    the filters n (number) and time (duration).
    """
    return """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>[[run_id]]</title>
<style>[[style|safe]]</style>
% macro fig(title, chart, note)
<figure><figcaption>[[title]]</figcaption>[[chart]]<small>[[note]]</small></figure>
% endmacro
% macro facts(title, found)
<dl><h3>[[title]]</h3>
% for k, v in (found or {}).items() if k not in ('gate', 'upstream')
<div><dt>[[k]]<dd>[[v]]</div>
% endfor
</dl>
% endmacro
% set out = done.publish.result
<small>InstructLab run [[run_id]] · [[done.values()|sum('seconds')|time]] h</small>
<h1>[[headline]].</h1>
<p class=fate><b class="[[out.published]]">[['Published' if out.published else 'Not published']]</b> [[fate]].
% if notes
<ul class=notes>
% for note in notes
<li>[[note]]
% endfor
</ul>
% endif
<h2>Scores</h2>
<table class=big><tr><th>Measure<th>Base<th>Candidate<th>Change
% for c in comparisons if c.key != 'mmlu' or not c.reason
% set s = scores[c.key]
<tr><td><b>[[c.name]]</b><small>[[c.what]][[', %s questions'|format(s.questions) if s.questions]]
[[-', judge error rate %.3f'|format(s.error_rate) if s.error_rate is number]]</small>
% if c.reason
<td colspan="3">skipped: [[c.reason]]
% else
<td>[[c.base|n(c.digits)]]<td>[[c.candidate|n(c.digits)]]
<td class="[[c.better]]">[[c.change|n(c.digits, '+')]]
% endif
% endfor
</table>
% set bench = scores.mt_bench
% if bench.checkpoints
<h2>MT-Bench by checkpoint</h2>
<div class=cols><div><table><tr><th>Checkpoint<th>Score<th>Turns<th>Judge error rate
% for c in bench.checkpoints
<tr><td>[[c.model.split('/')[-1] ]]<small class=True>[['candidate' if c.model == bench.candidate]]</small>
<td>[[c.overall_score|n(2)]]<td>[[c.turn_scores|map('n', 2)|join(' / ')]]<td>[[c.error_rate|n(3)]]
% endfor
</table><small>Judge: [[bench.judge_model]]; [[bench.reason]]</small></div>
[[fig('Score by training samples', line(points, 'samples', bench.candidate.split('_')|last)) if points|length > 1]]
</div>
% endif
<h2>By taxonomy leaf <small><i></i>base<i class=c></i>candidate</small></h2>
<div class=cols>
% for c in comparisons if c.rows
[[fig(c.name, bars(c.rows, c.digits), 'the 40 that changed most' if c.rows|length > 40)]]
% endfor
% if done.sdg.result.samples_by_leaf
[[fig('Generated samples', bars(done.sdg.result.samples_by_leaf.items()))]]
% endif
</div>
% for s in scores.likelihood.samples
% if loop.first
<h2>Sample answers</h2><small>To held-out questions. Beside a name: the reference's negative log-likelihood.</small>
% endif
<article><small>[[s.leaf]]</small><h3>[[s.question]]</h3><div class="cols three">
% for name, x, nll in (('Reference', s.reference, 0), ('Base', s.base_answer, s.base_nll),
('Candidate', s.answer, s.nll))
<div><small>[[name]] [[nll|n(3) if nll]]</small><div class=said>[[x]]</div></div>
% endfor
</div></article>
% endfor
<h2>Training</h2>
<div class=cols>
% for r in (done.train_phase_1.result, done.train_phase_2.result) if r
[[fig('Loss of phase ' ~ r.phase, line(r.loss, 'step') if r.loss, 'skipped: ' ~ r.reason if r.skipped
else '%s steps, %s samples, %s tokens, %s'|format(r.steps|n, r.samples|n, r.tokens|n, r.device))]]
% endfor
</div>
<h2>Data</h2>
% set r = done.sdg.result
[[r.reason or '%s samples and %s multiple-choice questions generated'|format(r.samples|n, r.mmlu_questions|n)]]
<table><tr><th>Training data<th>Rows<th>Tokens<th>Longest row<th>Dropped<th>Held out
% for kind, r in (done.data_processing.result or {}).items() if r is mapping
<tr><td>[[kind]]<td>[[r.rows|n]]<td>[[r.tokens|n]]<td>[[r.longest|n]]<td>[[r.dropped|n]]<td>[[r.held_out|n]]
% endfor
</table>
<h2>Time</h2>
<table><tr><th>Stage<th>h:mm:ss<th>Tokens<th>Tokens/s<th>Finished
% for stage, m in done.items()
<tr><td>[[stage]]<td>[[m.seconds|time]]<td>[[m.result.tokens|n]]<td>[[m.result.tokens_per_second|n]]<td>[[m.finished]]
% endfor
</table>
<h2>Gate</h2>
<table><tr><th>Check<th>Limit<th>Value<th>Result
% for c in out.gate.checks
<tr><td>[[c.name]]<td>[[c.limit]]<td>[[c.value]]<td class="[[c.passed]]">[['passed' if c.passed else 'failed']]
% endfor
</table>
<h2>Parameters and origin</h2>
<div class=facts>[[facts('Input', done.data_import.result)]][[facts('Published', out)]]
% for stage, m in done.items()
[[facts(stage ~ ' · ' ~ m.inputs_hash, m.inputs)]]
% endfor
</div>
<p>Versions: [[versions|join(', ')]]
"""
