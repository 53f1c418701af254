"""Cards of zoo entries."""

import json
from dataclasses import replace
from pathlib import Path

from tiny_runs import snapshot
from zoos import RECIPE, one, zoo

from protege.core.motions.provenance import Origin, joined, summed
from protege.core.runs.checkpoint import load
from protege.teachers import zoo as z
from protege.teachers.cards import write_card


def test_a_card_lists_the_motions_of_the_training(stocked: Path, tiny_tracker: Path) -> None:
    saved, card = load(tiny_tracker), (stocked / "tiny" / "card.md").read_text()
    (walk,) = saved.motions
    assert walk["name"] == "smpl_humanoid_walk" and len(walk["sha256"]) == 64
    source = walk["source"] or "not said"
    assert f"| smpl_humanoid_walk | {source} | not said | {walk['sha256'][:16]} |" in card.splitlines()


def test_a_card_counts_many_motions_and_handles_unknown_origins(stocked: Path, tiny_tracker: Path) -> None:
    entry, saved = z.find(stocked, "tiny"), load(tiny_tracker)
    own = {"source": "a|b\n(2003)", "licence": "free", "sha256": "0" * 64}
    many = [{"name": f"walk {i}", **own, "licence": "free" if i < 20 else ""} for i in range(25)]
    card = write_card(entry, replace(saved, motions=many)).splitlines()
    assert "| a\\|b (2003) | free | 20 |" in card and "| a\\|b (2003) | not said | 5 |" in card
    each = [{"name": f"walk {i}", **own, "source": str(i)} for i in range(30)]
    assert "| others | see config.yaml | 10 |" in write_card(entry, replace(saved, motions=each)).splitlines()
    files = ", ".join(f"`{file}`" for file in saved.config["run"]["motion_file"])
    earlier = write_card(entry, replace(saved, motions=[])).splitlines()
    assert f"Trained on motions whose origin it does not say: {files}." in earlier


def test_a_card_counts_the_clips_of_a_library(stocked: Path, tiny_tracker: Path) -> None:
    """A checkpoint has one origin for all of a library's clips that share source and licence."""
    library = [Origin(f"{i}", f"source {i % 21}", "free", "0" * 64) for i in range(2100)]
    motions = joined(summed(library), [Origin("walk", "source 3", "free", "1" * 64)])
    card = write_card(z.find(stocked, "tiny"), replace(load(tiny_tracker), motions=motions)).splitlines()
    assert "| source 3 | free | 101 |" in card and "| source 0 | free | 100 |" in card
    assert "| others | see config.yaml | 100 |" in card


def test_a_card_can_be_rewritten(copied: Path, tmp_path: Path) -> None:
    before = snapshot(copied)
    for simulator, success in (("mujoco", 0.5), ("mjwarp", 1.0)):
        other = {**one({"success": success}), "simulator": simulator}
        (tmp_path / f"{simulator}.json").write_text(json.dumps(other))
    words = ["--evaluation", tmp_path / "mujoco.json", "--evaluation", tmp_path / "mjwarp.json"]
    assert zoo("card", "tiny", "--zoo", copied, *words, "--notes", "It falls.") == f"{copied}/tiny/card.md\n"
    assert z.verify(copied, "tiny") == []
    entry, after = z.find(copied, "tiny"), snapshot(copied)
    assert (entry.metrics["mujoco/track/success"], entry.metrics["mjwarp/track/success"]) == (0.5, 1.0)
    assert (entry.recipe, entry.notes) == (RECIPE, "It falls.")
    assert {file for file in before if before[file] != after[file]} == {"index.yaml", "tiny/card.md"}
    zoo("card", "tiny", "--zoo", copied)
    assert z.find(copied, "tiny").notes == "It falls." and "Not evaluated" in (copied / "tiny" / "card.md").read_text()
    assert "has no entry 'large'" in zoo("card", "large", "--zoo", copied, code=2)
