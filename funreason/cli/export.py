"""`funreason report` and `export`: a run for others to read, as one page, or as folders that they can open."""

from __future__ import annotations

from pathlib import Path

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
    run_dir: RunDir = RUNS,
) -> int:
    """Export a run for others: the accepted model with a card, the refined data as Parquet and for LLaMA-Factory.

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
    """
    from funreason.config import ConfigError
    from funreason.export import export_run
    from funreason.hub import push as push_model
    from funreason.hub import push_target
    from funreason.record.folder import open_run

    if push is None and (public or yes):
        raise ConfigError("--public and --yes are for --push ORG/NAME")
    folder = open_run(run, run_dir)
    target = push_target(push, overwrite=yes, public=public) if push is not None else None
    made = export_run(folder, out, license=license, data_license=data_license)
    console = terminal.console(soft_wrap=True)
    by_origin = ", ".join(f"{count} {origin}" for origin, count in made.origins.most_common()) or "none"
    for line in (
        f"{made.folder / 'model'}: weights {made.weights}, with a card",
        f"{made.folder / 'data'}: {made.rows} rows of refined data ({by_origin}), with a card",
        f"{made.folder / 'llamafactory'}: the same in share-gpt form",
    ):
        console.print(line, markup=False, highlight=False)
    if license is None or data_license is None:
        console.print("no licence is stated; see --license and --data-license", markup=False)
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
