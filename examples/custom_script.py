"""A training script of one's own, made tunable by Podium's SDK: logistic regression by gradient descent on the wine data."""

import numpy as np

import podium_trial
from podium_trial.data import bundled_dataset

data = bundled_dataset("wine")
features, targets = data.train.features, np.eye(data.outputs)[data.train.targets.astype(int)]

with podium_trial.start() as trial:
    lr, l2 = trial.parameters.get("lr", 0.1), trial.parameters.get("l2", 0.0)
    weights = trial.restore()
    if weights is None:
        weights = np.zeros((features.shape[1], data.outputs))
    for epoch in trial.steps(until=trial.target or 20):
        scores = np.exp(features @ weights)
        slope = features.T @ (scores / scores.sum(axis=1, keepdims=True) - targets) / len(targets)
        weights -= lr * (slope + l2 * weights)
        scores = data.validation.features @ weights
        right = scores[np.arange(len(scores)), data.validation.targets.astype(int)]
        loss = np.mean(np.log(np.exp(scores).sum(axis=1)) - right)
        trial.report(epoch, loss=loss, accuracy=np.mean(scores.argmax(axis=1) == data.validation.targets))
        trial.save(epoch, weights)
