"""The report's page as a Jinja2 template."""


def page_template() -> str:
    """The template: {{ }} prints, a line that starts with % is a statement.

    Names in it: those of report_facts; style; bars(rows, digits), line(points, x label) and points(mt_bench scores);
    the filters n (number), many (counted), time (duration), plain and flat.
    """
    return """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ run_id }}: report</title>
<style>{{ style|safe }}</style>

% macro figure(title, chart, note)
<figure><figcaption>{{ title }}</figcaption>{{ chart }}<small>{{ note }}</small></figure>
% endmacro

% macro facts(title, found, left_out)
% if found
<dl><h3>{{ title }}</h3>
% for name, value in (found|flat(left_out)).items()
<div><dt>{{ name }}<dd>{{ value }}</div>
% endfor
</dl>
% endif
% endmacro

% macro mark(good, text)
<span class="{{ {true: 'good', false: 'bad'}[good] }}">{{ text }}</span>
% endmacro

% set out = done.publish.result
<small>InstructLab run {{ run_id }}</small>
<h1>{{ headline }}.</h1>
<p class="fate">{{ mark(out.published or false, 'Published' if out.published else 'Not published') }} {{ fate }}.
% if notes
<ul class="notes">
% for note in notes
<li>{{ note }}
% endfor
</ul>
% endif

<h2>Scores</h2>
<table class="big">
<tr><th>Measure<th>Base<th>Candidate<th>Change
% for c in comparisons if c.key != 'mmlu' or not c.reason
<tr><td><b>{{ c.name }}</b><small>{{ c.what }}
{{- '; ' ~ c.questions|many('question') if c.questions }}
{{- '; judge error rate %s'|format(c.error_rate|n(3)) if c.error_rate is number }}</small>
% if c.reason
<td colspan="3">skipped: {{ c.reason }}
% else
<td>{{ c.base|n(c.digits) }}<td>{{ c.candidate|n(c.digits) }}<td>{{ mark(c.better, c.change|n(c.digits, '+')) }}
% endif
% endfor
</table>

% set bench = scores.mt_bench
% if bench.checkpoints
<h2>MT-Bench by checkpoint</h2>
<div class="cols">
<div><table>
<tr><th>Checkpoint<th>Score<th>Turns<th>Judge errors
% for c in bench.checkpoints
<tr><td>{{ c.model.split('/')|last }}<small>{{ mark(true, 'candidate') if c.model == bench.candidate }}</small>
<td>{{ c.overall_score|n(2) }}<td>{{ c.turn_scores|map('n', 2)|join(' / ') }}<td>{{ c.error_rate|n(3) }}
% endfor
</table><p><small>Judge: {{ bench.judge_model }}. Choice: {{ bench.reason }}.</small></div>
% if points(bench)|length > 1
{{ figure('Score by training samples', line(points(bench), 'samples')) }}
% endif
</div>
% endif

% set samples = done.sdg.result.samples_by_leaf
% if samples or comparisons|selectattr('rows')|list
<h2>By taxonomy leaf <small><i></i>base<i class="c"></i>candidate</small></h2>
<div class="cols">
% for c in comparisons if c.rows
% set n = c.rows|length
{{ figure(c.name, bars(c.rows, c.digits), 'the 40 of %s that changed most'|format(n) if n > 40) }}
% endfor
% if samples
% set n = samples|length
{{ figure('Generated samples', bars(samples.items()), '40 of %s leaves'|format(n) if n > 40) }}
% endif
</div>
% endif

% for s in scores.likelihood.samples
% if loop.first
<h2>Sample answers</h2>
<small>To held-out questions. Beside a model: its negative log-likelihood of the reference, per token.</small>
% endif
<article><small>{{ s.leaf }}</small><h3>{{ s.question }}</h3>
<div class="cols three">
<div><small>Reference</small><div class="said">{{ s.reference }}</div></div>
<div><small><i></i>Base {{ s.base_nll|n(3) }}</small><div class="said">{{ s.base_answer }}</div></div>
<div><small><i class="c"></i>Candidate {{ s.nll|n(3) }}</small><div class="said">{{ s.answer }}</div></div>
</div></article>
% endfor

% if done.train_phase_1 or done.train_phase_2
<h2>Training</h2>
<div class="cols">
% for r in (done.train_phase_1.result, done.train_phase_2.result) if r
{{ figure('Loss of phase %s, %s'|format(r.phase, ('', 'knowledge', 'skills')[r.phase]), line(r.loss, 'step') if r.loss,
'skipped: %s'|format(r.reason) if r.skipped else
'%s, %s, %s on %s'|format(r.steps|many('step'), r.samples|many('sample'), r.tokens|many('token'), r.device)) }}
% endfor
</div>
% endif

% if done.sdg or done.data_processing
<h2>Data</h2>
<p>{{ done.sdg.result.reason or
'%s and %s were generated.'|format(done.sdg.result.samples|many('sample'),
done.sdg.result.mmlu_questions|many('multiple-choice question')) }}
% endif
% set chat = done.data_import.result.chat_template
% if chat
<p>Chat template: {{ chat.name if chat.name != 'tokenizer' else "the tokenizer's own" }}, since {{ chat.why }}.
% endif
% if done.data_processing
<table>
<tr><th>Training data<th>Rows<th>Tokens<th>Longest row, tokens<th>Dropped<th>Held out
% for kind in ('knowledge', 'skills')
% set r = done.data_processing.result[kind]
<tr><td>{{ kind }}<td>{{ r.rows|n }}<td>{{ r.tokens|n }}<td>{{ r.longest|n }}<td>{{ r.dropped|n }}<td>{{ r.held_out|n }}
% endfor
</table>
% endif

% if done
<h2>Time</h2>
<table>
<tr><th>Stage<th>Time<th>Tokens<th>Tokens/s<th>Finished
% for stage, m in done.items()
<tr><td>{{ stage }}<td>{{ m.seconds|time }}<td>{{ m.result.tokens|n }}<td>{{ m.result.tokens_per_second|n }}
<td>{{ m.finished }}
% endfor
<tr><td><b>All stages</b><td><b>{{ done.values()|sum('seconds')|time }}</b><td colspan="3">
</table>
% endif

% if out.gate
<h2>Gate</h2>
<table>
<tr><th>Check<th>Limit<th>Value<th>Result
% for c in out.gate.checks
<tr><td>{{ c.name }}<td>{{ c.limit|plain }}<td>{{ c.value|plain }}
<td>{{ mark(c.passed, 'passed' if c.passed else 'failed') }}
% endfor
</table>
% endif

% if done
<h2>Parameters and origin</h2>
<div class="facts">
{{ facts('Imported', done.data_import.result, ('chat_template',)) }}
{{ facts('Chat template', done.data_import.result.chat_template) }}
{{ facts('Published', out, ('gate',)) }}
{{ facts('Versions', versions) }}
% for stage, m in done.items()
{{ facts(stage ~ ' · ' ~ m.inputs_hash, m.inputs, ('upstream',)) }}
% endfor
</div>
<small>Beside a stage: the hash of its inputs.</small>
% endif
</html>
"""
