import io
import sys

import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.callbacks import PrintLoss, ProgressBar


class Recorder:
    """Keeps what it is shown."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.seen = []

    def __call__(self, progress):
        lengths = {name: len(values) for name, values in progress.history.items()}
        self.seen.append((progress.epoch, lengths, progress.params, progress.done))
        return progress.epoch == self.stop_at


@pytest.fixture(params=["full-batch", "mini-batch", "validated"])
def options(request):
    """Options of a trainer: the ways in which epochs are done."""
    return {
        "full-batch": {},
        "mini-batch": {"batch_size": 16},
        "validated": {"validation_fraction": 0.2},
    }[request.param] | {"epochs": 12, "l2": 0.1, "random_state": 0}


@pytest.fixture
def one_epoch_a_chunk(monkeypatch):
    monkeypatch.setattr("lrbackends._stopping._CHUNK_SECONDS", 0.0)


@pytest.mark.usefixtures("one_epoch_a_chunk")
def test_a_callback_sees_training_go_on_and_end(backend_name, noisy, options):
    recorder = Recorder()
    result = lrb.Trainer(backend_name, callbacks=[recorder], **options).fit(*noisy)
    epochs = [epoch for epoch, *_ in recorder.seen]
    assert epochs == sorted(epochs)
    assert epochs[-1] == 12
    assert len(set(epochs)) >= 12
    assert [done for *_, done in recorder.seen] == [False] * (len(epochs) - 1) + [True]
    _, lengths, params, _ = recorder.seen[-1]
    assert set(lengths.values()) == {12}
    assert params.coef.tobytes() == result.coef.tobytes()
    assert len({params.coef.tobytes() for _, _, params, _ in recorder.seen}) == 12


@pytest.mark.usefixtures("one_epoch_a_chunk")
def test_histories_shown_are_of_equal_length(backend_name, noisy, options):
    recorder = Recorder()
    lrb.Trainer(backend_name, callbacks=[recorder], **options).fit(*noisy)
    for epoch, lengths, *_ in recorder.seen:
        assert len(set(lengths.values())) == 1
        assert epoch - 1 <= lengths["loss"] <= epoch


def test_looking_on_changes_nothing(backend_name, noisy, options):
    watched = lrb.Trainer(backend_name, callbacks=[Recorder()], **options).fit(*noisy)
    alone = lrb.Trainer(backend_name, **options).fit(*noisy)
    assert watched.coef.tobytes() == alone.coef.tobytes()
    for name, values in watched.history.items():
        assert values.tobytes() == alone.history[name].tobytes()


@pytest.mark.usefixtures("one_epoch_a_chunk")
@pytest.mark.parametrize("patience", [None, 50])
def test_a_callback_ends_training(backend_name, noisy, options, patience):
    first, second = Recorder(stop_at=5), Recorder()
    trainer = lrb.Trainer(backend_name, callbacks=[first, second], patience=patience, **options)
    result = trainer.fit(*noisy)
    assert (result.status, result.reason) == ("callback", "a callback asked to stop")
    assert result.n_epochs == 5
    assert {len(values) for values in result.history.values()} == {5}
    assert [done for *_, done in second.seen].count(True) == 1
    whole = lrb.Trainer(backend_name, **options).fit(*noisy)
    for name, values in result.history.items():
        # The loss that a full-batch run comes with and the one looked at alone may round otherwise.
        np.testing.assert_allclose(values, whole.history[name][:5], rtol=1e-14)
    monitored = result.history.get("validation_loss", result.history["loss"])
    assert result.best_epoch == 1 + int(np.argmin(monitored))


def test_an_error_in_a_callback_is_not_swallowed(noisy):
    def fail(progress):
        if not progress.done:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        lrb.Trainer("numpy", epochs=5, callbacks=[fail]).fit(*noisy)


@pytest.mark.parametrize("every", [1, 5, 12, 100])
def test_print_loss_prints_what_is_due(capsys, backend_name, noisy, options, every):
    result = lrb.Trainer(backend_name, callbacks=[PrintLoss(every)], **options).fit(*noisy)
    expected = [
        f"epoch {epoch}: "
        + ", ".join(
            f"{name.replace('_', ' ')} {values[epoch - 1]:.6f}"
            for name, values in result.history.items()
        )
        for epoch in range(every, 13, every)
    ]
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.usefixtures("one_epoch_a_chunk")
def test_print_loss_prints_while_training_goes_on(capsys, noisy):
    printed = []

    def look(progress):
        printed.extend([progress.epoch] * len(capsys.readouterr().out.splitlines()))

    lrb.Trainer("numpy", epochs=12, l2=0.1, callbacks=[PrintLoss(3), look]).fit(*noisy)
    assert len(printed) == 4
    for due, at in zip((3, 6, 9, 12), printed, strict=True):
        assert due <= at <= due + 1


def test_print_loss_can_be_used_again(capsys, noisy):
    trainer = lrb.Trainer("numpy", epochs=12, l2=0.1, callbacks=[PrintLoss(5)])
    trainer.fit(*noisy)
    first = capsys.readouterr().out
    trainer.fit(*noisy)
    assert capsys.readouterr().out == first != ""


@pytest.mark.parametrize("every", [0, -5, 2.5, "10"])
def test_print_loss_refuses_an_interval_that_is_none(every):
    with pytest.raises((TypeError, ValueError), match="every must be"):
        PrintLoss(every)


def test_the_progress_bar_leaves_standard_output_alone(capsys, noisy, options):
    lrb.Trainer("numpy", callbacks=[ProgressBar()], **options).fit(*noisy)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip() == "", "this is not a terminal: no bar"


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self):
        return True


def test_the_progress_bar_shows_epochs_and_loss_at_a_terminal(monkeypatch, capsys, noisy):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    bar = ProgressBar("learning")
    result = lrb.Trainer("numpy", epochs=12, l2=0.1, callbacks=[bar]).fit(*noisy)
    shown = terminal.getvalue()
    assert "learning" in shown
    assert "12/12" in shown
    assert f"loss {result.loss:.6f}" in shown
    assert capsys.readouterr().out == ""


def test_the_progress_bar_ends_when_training_fails(monkeypatch, noisy):
    def fail(progress):
        if not progress.done:
            raise RuntimeError("mine")

    bar = ProgressBar()
    with pytest.raises(RuntimeError, match="mine"):
        lrb.Trainer("numpy", epochs=5, callbacks=[bar, fail]).fit(*noisy)
    # A bar that is still live would make this one fail to start.
    lrb.Trainer("numpy", epochs=5, callbacks=[bar]).fit(*noisy)
