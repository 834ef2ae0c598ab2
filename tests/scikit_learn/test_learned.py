"""What fitted steps say of a pipeline's columns, as clients send them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import HuberRegressor, LinearRegression, LogisticRegression
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from inferd.scikit_learn.learned import MOST_MEMBERS, MOST_POINTS, learn

RANDOM = np.random.default_rng(0)
MIDDLES, SPREADS = np.array([1.7e9, -3.0]), np.array([500.0, 0.01])
VALUES = RANDOM.normal(MIDDLES, SPREADS, (400, 2))
TARGET = (VALUES[:, 0] > MIDDLES[0]) ^ (VALUES[:, 1] > MIDDLES[1])
TREE = DecisionTreeClassifier(random_state=0)


def fitted(*steps):
    return make_pipeline(*steps).fit(VALUES, TARGET)


@pytest.mark.parametrize(
    "scalers", [[], [StandardScaler()], [MinMaxScaler(), RobustScaler()], [QuantileTransformer(n_quantiles=100), MaxAbsScaler()]], ids=str
)
def test_splits_are_told_as_clients_send_numbers(scalers) -> None:
    pipeline = fitted(*scalers, TREE)
    tree, features = pipeline[-1].tree_, pipeline[:-1].transform(VALUES) if scalers else VALUES
    for place, column in enumerate(learn(pipeline, 2)):
        for threshold in tree.threshold[tree.feature == place]:
            below = features[:, place].astype(np.float32) <= threshold
            last, first = VALUES[below, place].max(), VALUES[~below, place].min()
            room = (first - last) * 0.1 + SPREADS[place] * 1e-4
            assert any(last - room <= point <= first + room for point in column.points)
        assert "DecisionTreeClassifier" in column.source


@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingClassifier(max_iter=3),
        RandomForestClassifier(2 * MOST_MEMBERS, random_state=0),
        BaggingClassifier(TREE, 3, max_features=1, random_state=0),
        VotingClassifier([("a", TREE), ("b", LogisticRegression())]),
        CalibratedClassifierCV(TREE, cv=2),
        KNeighborsClassifier(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_estimators_say_where_numbers_lie(estimator) -> None:
    for place, column in enumerate(learn(fitted(StandardScaler(), estimator), 2)):
        assert len(column.points) <= MOST_POINTS * MOST_MEMBERS
        assert VALUES[:, place].min() - SPREADS[place] < min(column.points) < max(column.points) < VALUES[:, place].max() + SPREADS[place]
        assert column.known


@pytest.mark.parametrize("step", [StandardScaler(), SimpleImputer(), PCA(1), make_pipeline(SimpleImputer(), StandardScaler())], ids=str)
def test_means_and_deviations(step) -> None:
    for place, column in enumerate(learn(fitted(step), 2)):
        assert column.middle == pytest.approx(VALUES[:, place].mean(), abs=SPREADS[place])
        assert column.spread is None or column.spread == pytest.approx(VALUES[:, place].std())
        assert column.known


@pytest.mark.parametrize(
    "step", [MinMaxScaler(), MaxAbsScaler(), QuantileTransformer(n_quantiles=50), PowerTransformer(), KBinsDiscretizer()], ids=str
)
def test_limits_and_quantiles(step) -> None:
    values = RANDOM.lognormal(2, 0.3, (200, 2))
    for place, column in enumerate(learn(step.fit(values), 2)):
        assert values[:, place].min() / 2 < min(column.points) <= max(column.points) < values[:, place].max() * 2


@pytest.mark.parametrize(
    "steps",
    [
        [LinearRegression()],
        [HuberRegressor()],  # has one scale_ for all columns
        [KernelDensity()],  # has a tree_ of another kind
        [SimpleImputer(strategy="constant", fill_value=-1)],
        [PCA(2, whiten=True), TREE],
        [PowerTransformer(standardize=False)],
    ],
    ids=str,
)
def test_what_no_step_says_is_not_known(steps) -> None:
    values = RANDOM.normal(0, 1, (50, 2))
    for column in learn(make_pipeline(*steps).fit(values, values[:, 0] > 0), 2):
        assert column.known == isinstance(steps[0], PCA)  # which keeps the mean
        assert not column.points


def test_columns_are_found_behind_those_that_become_several() -> None:
    table = pd.DataFrame({"city": np.where(TARGET, "Ulm", "Bonn"), "time": VALUES[:, 0], "id": VALUES[:, 1], "text": "so long"})
    features = make_column_transformer(
        (OneHotEncoder(), ["city"]), (StandardScaler(), ["time"]), (CountVectorizer(), "text"), ("drop", ["id"])
    )
    shifted = np.roll(TARGET, 1) ^ (VALUES[:, 0] > MIDDLES[0])
    city, time, unused, text = learn(make_pipeline(features, TREE).fit(table, shifted), 4)
    assert (city.kind, city.categories, city.points) == ("text", ["Bonn", "Ulm"], [])
    assert VALUES[:, 0].min() < min(time.points) <= max(time.points) < VALUES[:, 0].max()
    assert (text.kind, sorted(text.words)) == ("text", ["long", "so"])
    assert not unused.used
    assert not unused.known
    assert all(column.used for column in (city, time, text))


def test_columns_are_found_whichever_way_they_were_chosen() -> None:
    table = pd.DataFrame(VALUES, columns=["time", "x"]).assign(y=5.0, z=7.0)
    for chosen in (["time"], slice("time", "time"), [True, False, False, False], lambda frame: ["time"]):
        features = make_column_transformer((StandardScaler(), ["z"]), ("passthrough", chosen), remainder=MinMaxScaler())
        time, x, *rest = learn(make_pipeline(features, TREE).fit(table, TARGET), 4)
        assert "DecisionTreeClassifier" in time.source
        assert "DecisionTreeClassifier" in x.source
        assert all(column.used for column in rest)


def test_columns_are_found_behind_a_choice_of_them_and_side_by_side() -> None:
    noise, said = learn(fitted(SelectKBest(k=1).fit(VALUES, VALUES[:, 1] > MIDDLES[1]), TREE), 2)
    assert bool(noise.points) != bool(said.points)
    union = FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())])
    assert all("DecisionTreeClassifier" in column.source for column in learn(fitted(union, TREE), 2))
    mixed = FeatureUnion([("a", PCA(1)), ("b", MinMaxScaler())])
    assert not any("DecisionTreeClassifier" in column.source for column in learn(fitted(mixed, TREE), 2))


def test_what_stands_in_is_told_as_clients_send_it() -> None:
    values = VALUES.copy()
    values[::9] = np.nan
    scaled_first = make_pipeline(StandardScaler(), SimpleImputer()).fit(values)
    for place, column in enumerate(learn(scaled_first, 2)):
        assert column.stand_in == pytest.approx(np.nanmean(values[:, place]))
