"""How good a head is: ROC-AUC, PR-AUC, F1, confusion matrix, 95 % bootstrap intervals, plots. Everything on the test part, which
neither training nor the choice of thresholds has seen."""

import csv
import json
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.metrics import average_precision_score, confusion_matrix, f1_score, precision_recall_curve, roc_auc_score, roc_curve

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


def best_threshold(truth: np.ndarray, probability: np.ndarray) -> float:
    """Where sensitivity and specificity together are highest on the validation part (Youden); 0.5 where one class is missing."""
    if len(np.unique(truth)) < 2:
        return 0.5
    wrong, right, thresholds = roc_curve(truth, probability)
    best = thresholds[int(np.argmax(right - wrong))]
    return float(np.clip(best, 0.0, 1.0))


def scores(truth: np.ndarray, probability: np.ndarray, threshold: float) -> dict[str, float]:
    """Of one label; nothing where one class is missing."""
    if len(np.unique(truth)) < 2:
        return {}
    said = (probability >= threshold).astype(int)
    return {"roc_auc": float(roc_auc_score(truth, probability)), "pr_auc": float(average_precision_score(truth, probability)), "f1": float(f1_score(truth, said, zero_division=0))}


def intervals(truth: np.ndarray, probability: np.ndarray, threshold: float, patients: np.ndarray, samples: int, seed: int) -> dict[str, list[float]]:
    """95 % intervals: patients are drawn with replacement, all series of a patient together."""
    random = np.random.default_rng(seed)
    known = np.unique(patients)
    rows_of = {patient: np.flatnonzero(patients == patient) for patient in known}
    drawn: dict[str, list[float]] = {}
    for _ in range(samples):
        rows = np.concatenate([rows_of[patient] for patient in random.choice(known, len(known))])
        for name, value in scores(truth[rows], probability[rows], threshold).items():
            drawn.setdefault(name, []).append(value)
    return {name: [float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5))] for name, values in drawn.items()}


def write(out: Path, table, probabilities: np.ndarray, losses: list[tuple[float, float]], samples: int, seed: int) -> tuple[list[float], dict]:
    """Writes metrics.json, predictions.csv and the plots; gives the thresholds and what metrics.json holds."""
    labels, known = table.labels.numpy(), table.known.numpy() > 0
    check, test = table.of("validation"), table.of("test")
    thresholds, by_label, curves = [], {}, {}
    for at, name in enumerate(table.names):
        on_check, on_test = check[known[check, at]], test[known[test, at]]
        threshold = best_threshold(labels[on_check, at], probabilities[on_check, at])
        thresholds.append(threshold)
        truth, probability = labels[on_test, at].astype(int), probabilities[on_test, at]
        found = scores(truth, probability, threshold)
        said = (probability >= threshold).astype(int)
        by_label[name] = {"threshold": threshold, "positive": int(truth.sum()), "negative": int((1 - truth).sum()), **found,
                          "confusion": confusion_matrix(truth, said, labels=[0, 1]).tolist()}
        if found:
            patients = np.array(table.patients)[on_test]
            by_label[name]["interval_95"] = intervals(truth, probability, threshold, patients, samples, seed)
            curves[name] = (truth, probability)
    measures = ("roc_auc", "pr_auc", "f1")
    macro = {measure: float(np.mean([found[measure] for found in by_label.values() if measure in found])) for measure in measures if curves}
    metrics = {"model": table.model, "version": table.version, "patients": {part: len({table.patients[row] for row in table.of(part)}) for part in ("train", "validation", "test")},
               "series": {part: len(table.of(part)) for part in ("train", "validation", "test")}, "epochs": len(losses), "macro": macro, "labels": by_label}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    with open(out / "predictions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["series_uid", "split", *table.names])
        for row, series in enumerate(table.series):
            writer.writerow([series, ("train", "validation", "test")[table.parts[row]], *(f"{value:.6f}" for value in probabilities[row])])
    plot(out, curves, by_label, losses)
    return thresholds, metrics


def plot(out: Path, curves: dict, by_label: dict, losses: list[tuple[float, float]]) -> None:
    """roc.png, precision_recall.png, confusion.png, losses.png."""
    for file, draw, x, y in (("roc.png", lambda truth, p: roc_curve(truth, p)[:2], "1 - specificity", "sensitivity"),
                             ("precision_recall.png", lambda truth, p: precision_recall_curve(truth, p)[1::-1], "recall", "precision")):
        figure, axes = plt.subplots(figsize=(6, 6))
        for name, (truth, probability) in curves.items():
            measure = "roc_auc" if file == "roc.png" else "pr_auc"
            low, high = by_label[name]["interval_95"][measure]
            axes.plot(*draw(truth, probability), label=f"{name}: {by_label[name][measure]:.3f} ({low:.3f} to {high:.3f})")
        axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(fontsize=7)
        figure.savefig(out / file, dpi=120, bbox_inches="tight")
        plt.close(figure)
    columns = min(len(by_label), 5)
    rows = -(-len(by_label) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.2 * columns, 2.4 * rows), squeeze=False)
    for axis, (name, found) in zip(axes.flat, by_label.items()):
        table = np.array(found["confusion"])
        axis.imshow(table, cmap="Blues", vmin=0)
        for (row, column), count in np.ndenumerate(table):
            axis.text(column, row, str(count), ha="center", va="center", color="white" if count > table.max() / 2 else "black")
        axis.set(title=name, xticks=[0, 1], yticks=[0, 1], xlabel="said", ylabel="is")
        axis.title.set_size(8)
    for axis in list(axes.flat)[len(by_label):]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(out / "confusion.png", dpi=120)
    plt.close(figure)
    figure, axis = plt.subplots(figsize=(6, 4))
    axis.plot([one for one, _ in losses], label="training")
    axis.plot([two for _, two in losses], label="validation")
    axis.set(xlabel="epoch", ylabel="loss")
    axis.legend()
    figure.savefig(out / "losses.png", dpi=120, bbox_inches="tight")
    plt.close(figure)
