"""`funreason report` and `export`: a run for others to read, as one page, or as folders that they can open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from funreason.cli import terminal
from funreason.cli.app import RUNS, RunDir, RunName
from funreason.hub import HubError


def report(run: RunName = None, /, *, out: Path | None = None, run_dir: RunDir = RUNS) -> int:
    """Write a report of a run: one HTML file that needs no network, and Markdown for a repository.

    Parameters
    ----------
    out
        Directory for report.html and report.md. Default: the run's folder.
    """
    from funreason.display.report import report_html, report_markdown
    from funreason.record.folder import open_run, write_whole

    folder = open_run(run, run_dir)
    state, life = folder.state(), folder.writer_status()
    target = out or folder.path
    target.mkdir(parents=True, exist_ok=True)
    status = life.status if life else state.status
    console = terminal.console(soft_wrap=True)
    for name, text in (
        ("report.html", report_html(state, folder, status)),
        ("report.md", report_markdown(state, folder, status)),
    ):
        write_whole(target / name, text)
        console.print(f"written: {target / name}", markup=False, highlight=False)
    return 0


def export(
    run: RunName = None,
    /,
    *,
    out: Path,
    license: str | None = None,
    data_license: str | None = None,
    push: str | None = None,
    public: bool = False,
    yes: bool = False,
    base_model: str | None = None,
    language: Annotated[list[str] | None, Parameter(consume_multiple=False)] = None,
    scores: Annotated[list[Path] | None, Parameter(consume_multiple=False)] = None,
    formats: Annotated[
        list[Literal["messages", "openai"]] | None, Parameter("--format", consume_multiple=False)
    ] = None,
    run_dir: RunDir = RUNS,
) -> int:
    """Export a run for others: the accepted model with a card, the refined data as Parquet and for LLaMA-Factory.

    A run of `refine` has data and no model.

    Parameters
    ----------
    out
        A new folder.
    license
        The model's licence, for its card.
    data_license
        The data's licence, for its card.
    push
        Also upload the model with its card to ORG/NAME on a hub. The token comes from HF_TOKEN or `hf auth login`.
    public
        Make the repository that --push creates public. Default: private.
    yes
        Let --push write over files in a repository that it did not write before.
    base_model
        The base model's name on a hub, ORG/NAME, for the card. Default: as the run names it, where it does.
    language
        A language of model and data for the cards, such as en. Can be given several times.
    scores
        A folder that `funreason eval` wrote for this model; its scores go into the card. Can be given several times.
    formats
        Also write the data as chat messages: messages for TRL, openai for OpenAI's fine-tuning. Can be given twice.
    """
    from funreason.config import ConfigError
    from funreason.export import export_run
    from funreason.hub import push as push_model
    from funreason.hub import push_target
    from funreason.record.folder import is_refining, open_run

    if push is None and (public or yes):
        raise ConfigError("--public and --yes are for --push ORG/NAME")
    folder = open_run(run, run_dir)
    if push is not None and is_refining(folder):
        raise ConfigError(f"--push uploads a model, and {folder.path} only refined data. Export it without --push.")
    target = push_target(push, overwrite=yes, public=public) if push is not None else None
    made = export_run(
        folder,
        out,
        license=license,
        data_license=data_license,
        base_model=base_model,
        language=language or (),
        scores=scores or (),
        formats=formats or (),
    )
    console = terminal.console(soft_wrap=True)
    by_origin = ", ".join(f"{count} {origin}" for origin, count in made.origins.most_common()) or "none"
    lines = [f"{made.folder / 'model'}: weights {made.weights}, with a card"] if made.weights else []
    lines += [
        f"{made.folder / 'data'}: {made.rows} rows of refined data ({by_origin}), with a card",
        f"{made.folder / 'llamafactory'}: the same in share-gpt form",
    ]
    for form, rejected in made.rejected.items():
        left = "".join(f", {count} left out ({reason})" for reason, count in rejected.most_common())
        left += f", {made.without[form]} without their thinking" if made.without[form] else ""
        lines.append(f"{made.folder / form}: the same as chat messages, with a card{left}")
    for line in lines:
        console.print(line, markup=False, highlight=False)
    licences = {"--license": license if made.weights else "", "--data-license": data_license}
    unstated = [name for name, given in licences.items() if given is None]
    if unstated:
        console.print(f"no licence is stated; see {' and '.join(unstated)}", markup=False)
    if target is not None:
        notices = terminal.notices()
        try:
            with terminal.starting(notices, f"uploading to {target.name}"):
                pushed = push_model(made.folder / "model", target, {"weights": made.weights, "run": folder.name})
        except HubError as error:
            again = f"hf upload {target.name} {made.folder / 'model'}"
            raise HubError(f"{error} The export itself is whole; to upload it later: {again}") from None
        who = "private" if pushed.private else "public"
        console.print(f"{pushed.url}: {who}, at commit {pushed.commit[:12]}", markup=False, highlight=False)
        if public and pushed.private:
            notices.print("the repository was private before and stays so; change it on its page", markup=False)
    return 0
