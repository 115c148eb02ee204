"""Small data sets whose maximum-likelihood logistic regression is known to 20 digits.

The figures are those of Newton's method in 60-digit arithmetic on the rows below, and on those that
statsmodels brings.
Each line of a table holds several whole rows.
"""

from dataclasses import dataclass

import numpy as np
import pytest

SPECTOR_CERTIFIED = """
gpa 2.8261125948893214261 1.2629410756290924147
tuce 0.095157661317909301269 0.14155420567369474441
psi 2.3786876550933542153 1.0645642544971329591
const -13.021346858115690607 4.9313242136027585584
"""

# Low birth weight, Hosmer & Lemeshow (1989), as in R's MASS::birthwt and Stata's lbw: low, age,
# weight of the mother, race (1 white, 2 black, 3 other), smoke, ptl, ht, ui.
LBW = """
0 19 182 2 0 0 0 1   0 33 155 3 0 0 0 0   0 20 105 1 1 0 0 0   0 21 108 1 1 0 0 1
0 18 107 1 1 0 0 1   0 21 124 3 0 0 0 0   0 22 118 1 0 0 0 0   0 17 103 3 0 0 0 0
0 29 123 1 1 0 0 0   0 26 113 1 1 0 0 0   0 19 95 3 0 0 0 0   0 19 150 3 0 0 0 0
0 22 95 3 0 0 1 0   0 30 107 3 0 1 0 1   0 18 100 1 1 0 0 0   0 18 100 1 1 0 0 0
0 15 98 2 0 0 0 0   0 25 118 1 1 0 0 0   0 20 120 3 0 0 0 1   0 28 120 1 1 0 0 0
0 32 121 3 0 0 0 0   0 31 100 1 0 0 0 1   0 36 202 1 0 0 0 0   0 28 120 3 0 0 0 0
0 25 120 3 0 0 0 1   0 28 167 1 0 0 0 0   0 17 122 1 1 0 0 0   0 29 150 1 0 0 0 0
0 26 168 2 1 0 0 0   0 17 113 2 0 0 0 0   0 17 113 2 0 0 0 0   0 24 90 1 1 1 0 0
0 35 121 2 1 1 0 0   0 25 155 1 0 0 0 0   0 25 125 2 0 0 0 0   0 29 140 1 1 0 0 0
0 19 138 1 1 0 0 0   0 27 124 1 1 0 0 0   0 31 215 1 1 0 0 0   0 33 109 1 1 0 0 0
0 21 185 2 1 0 0 0   0 19 189 1 0 0 0 0   0 23 130 2 0 0 0 0   0 21 160 1 0 0 0 0
0 18 90 1 1 0 0 1   0 18 90 1 1 0 0 1   0 32 132 1 0 0 0 0   0 19 132 3 0 0 0 0
0 24 115 1 0 0 0 0   0 22 85 3 1 0 0 0   0 22 120 1 0 0 1 0   0 23 128 3 0 0 0 0
0 22 130 1 1 0 0 0   0 30 95 1 1 0 0 0   0 19 115 3 0 0 0 0   0 16 110 3 0 0 0 0
0 21 110 3 1 0 0 1   0 30 153 3 0 0 0 0   0 20 103 3 0 0 0 0   0 17 119 3 0 0 0 0
0 17 119 3 0 0 0 0   0 23 119 3 0 0 0 0   0 24 110 3 0 0 0 0   0 28 140 1 0 0 0 0
0 26 133 3 1 2 0 0   0 20 169 3 0 1 0 1   0 24 115 3 0 0 0 0   0 28 250 3 1 0 0 0
0 20 141 1 0 2 0 1   0 22 158 2 0 1 0 0   0 22 112 1 1 2 0 0   0 31 150 3 1 0 0 0
0 23 115 3 1 0 0 0   0 16 112 2 0 0 0 0   0 16 135 1 1 0 0 0   0 18 229 2 0 0 0 0
0 25 140 1 0 0 0 0   0 32 134 1 1 1 0 0   0 20 121 2 1 0 0 0   0 23 190 1 0 0 0 0
0 22 131 1 0 0 0 0   0 32 170 1 0 0 0 0   0 30 110 3 0 0 0 0   0 20 127 3 0 0 0 0
0 23 123 3 0 0 0 0   0 17 120 3 1 0 0 0   0 19 105 3 0 0 0 0   0 23 130 1 0 0 0 0
0 36 175 1 0 0 0 0   0 22 125 1 0 0 0 0   0 24 133 1 0 0 0 0   0 21 134 3 0 0 0 0
0 19 235 1 1 0 1 0   0 25 95 1 1 3 0 1   0 16 135 1 1 0 0 0   0 29 135 1 0 0 0 0
0 29 154 1 0 0 0 0   0 19 147 1 1 0 0 0   0 19 147 1 1 0 0 0   0 30 137 1 0 0 0 0
0 24 110 1 0 0 0 0   0 19 184 1 1 0 1 0   0 24 110 3 0 1 0 0   0 23 110 1 0 0 0 0
0 20 120 3 0 0 0 0   0 25 241 2 0 0 1 0   0 30 112 1 0 0 0 0   0 22 169 1 0 0 0 0
0 18 120 1 1 0 0 0   0 16 170 2 0 0 0 0   0 32 186 1 0 0 0 0   0 18 120 3 0 0 0 0
0 29 130 1 1 0 0 0   0 33 117 1 0 0 0 1   0 20 170 1 1 0 0 0   0 28 134 3 0 0 0 0
0 14 135 1 0 0 0 0   0 28 130 3 0 0 0 0   0 25 120 1 0 0 0 0   0 16 95 3 0 0 0 0
0 20 158 1 0 0 0 0   0 26 160 3 0 0 0 0   0 21 115 1 0 0 0 0   0 22 129 1 0 0 0 0
0 25 130 1 0 0 0 0   0 31 120 1 0 0 0 0   0 35 170 1 0 1 0 0   0 19 120 1 1 0 0 0
0 24 116 1 0 0 0 0   0 45 123 1 0 0 0 0   1 28 120 3 1 1 0 1   1 29 130 1 0 0 0 1
1 34 187 2 1 0 1 0   1 25 105 3 0 1 1 0   1 25 85 3 0 0 0 1   1 27 150 3 0 0 0 0
1 23 97 3 0 0 0 1   1 24 128 2 0 1 0 0   1 24 132 3 0 0 1 0   1 21 165 1 1 0 1 0
1 32 105 1 1 0 0 0   1 19 91 1 1 2 0 1   1 25 115 3 0 0 0 0   1 16 130 3 0 0 0 0
1 25 92 1 1 0 0 0   1 20 150 1 1 0 0 0   1 21 200 2 0 0 0 1   1 24 155 1 1 1 0 0
1 21 103 3 0 0 0 0   1 20 125 3 0 0 0 1   1 25 89 3 0 2 0 0   1 19 102 1 0 0 0 0
1 19 112 1 1 0 0 1   1 26 117 1 1 1 0 0   1 24 138 1 0 0 0 0   1 17 130 3 1 1 0 1
1 20 120 2 1 0 0 0   1 22 130 1 1 1 0 1   1 27 130 2 0 0 0 1   1 20 80 3 1 0 0 1
1 17 110 1 1 0 0 0   1 25 105 3 0 1 0 0   1 20 109 3 0 0 0 0   1 18 148 3 0 0 0 0
1 18 110 2 1 1 0 0   1 20 121 1 1 1 0 1   1 21 100 3 0 1 0 0   1 26 96 3 0 0 0 0
1 31 102 1 1 1 0 0   1 15 110 1 0 0 0 0   1 23 187 2 1 0 0 0   1 20 122 2 1 0 0 0
1 24 105 2 1 0 0 0   1 15 115 3 0 0 0 1   1 23 120 3 0 0 0 0   1 30 142 1 1 1 0 0
1 22 130 1 1 0 0 0   1 17 120 1 1 0 0 0   1 23 110 1 1 1 0 0   1 17 120 2 0 0 0 0
1 26 154 3 0 1 1 0   1 20 106 3 0 0 0 0   1 26 190 1 1 0 0 0   1 14 101 3 1 1 0 0
1 28 95 1 1 0 0 0   1 14 100 3 0 0 0 0   1 23 94 3 1 0 0 0   1 17 142 2 0 0 1 0
1 21 130 1 1 0 1 0
"""
LBW_CERTIFIED = """
age -0.027100310886233478167 0.036450426610962989127
lwt -0.015150818440521630318 0.006925878587438923697
race_black 1.2626472843971866099 0.52641014261406165778
race_other 0.86207916179822683305 0.43915315477758970488
smoke 0.92334482228527196516 0.40082664235661890517
ptl 0.5418365647630398773 0.34624899756826732873
ht 1.832517803548586221 0.69162923533951620025
ui 0.75851348017118215557 0.45937677064017114201
const 0.46122388641737003683 1.2045897485168783187
"""

# Vasoconstriction, Finney (1947), in SAS/STAT's LOGISTIC example 6 and R's robustbase::vaso:
# constriction, volume and rate of air inspired. The model takes their logarithms.
VASO = """
1 3.7 0.825   1 3.5 1.09   1 1.25 2.5   1 0.75 1.5   1 0.8 3.2   1 0.7 3.5   0 0.6 0.75
0 1.1 1.7   0 0.9 0.75   0 0.9 0.45   0 0.8 0.57   0 0.55 2.75   0 0.6 3   1 1.4 2.33
1 0.75 3.75   1 2.3 1.64   1 3.2 1.6   1 0.85 1.415   0 1.7 1.06   1 1.8 1.8   0 0.4 2
0 0.95 1.36   0 1.35 1.35   0 1.5 1.36   1 1.6 1.78   0 0.6 1.5   1 1.8 1.5   0 0.95 1.9
1 1.9 0.95   0 1.6 0.4   1 2.7 0.75   0 2.35 0.03   0 1.1 1.83   1 1.1 2.2   1 1.2 2
1 0.8 3.33   0 0.95 1.9   0 0.75 1.9   1 1.3 1.625
"""
VASO_CERTIFIED = """
logVolume 5.1793240192718927782 1.8648496537133100638
logRate 4.5616752788071096066 1.8379910538580981738
const -2.8754217102168111092 1.3207932935108055275
"""

# Cancer remission, Lee (1974), in SAS/STAT's LOGISTIC example 1: remiss, cell, li, temp.
REMISSION = """
1 0.8 1.9 0.996   1 0.9 1.4 0.992   0 0.8 0.8 0.982   0 1 0.7 0.986   1 0.9 1.3 0.98
0 1 0.6 0.982   1 0.95 1 0.992   0 0.95 1.9 1.02   0 1 0.8 0.999   0 0.95 0.5 1.038
0 0.85 0.7 0.988   0 0.7 1.2 0.982   0 0.8 0.4 1.006   0 0.2 0.8 0.99   0 1 1.1 0.99
1 1 1.9 1.02   0 0.65 0.5 1.014   0 1 1 1.004   0 0.5 0.6 0.99   1 1 1.1 0.986   0 1 0.4 1.01
0 0.9 0.6 1.02   1 1 1 1.002   0 0.95 1.6 0.988   1 1 1.7 0.99   1 1 0.9 0.986   0 1 0.7 0.986
"""
REMISSION_CERTIFIED = """
cell 9.6521522246219679824 7.7510762481193288543
li 3.867100329083920557 1.7782777909760768695
temp -82.073774279539319246 61.712383999725505097
const 67.633906128109772834 56.88754884520212269
"""

# California's schools, Gill (2001). Its rows are its author's: statsmodels has them by permission.
STAR98_CERTIFIED = """
LOWINC -0.016815036617130703079 0.00043394669560217404461
PERASIAN 0.0099254766112040389208 0.00060137141547907879825
PERBLACK -0.01872421478047996476 0.00074354991479466567569
PERHISP -0.014238560943705188911 0.00043386552057790989441
PERMINTE 0.25448717299645229284 0.029945758289937830949
AVYRSEXP 0.24069366441823358655 0.057138243393067615886
AVSALK 0.080408673938091364691 0.013923585694674506922
PERSPENK -1.9521605027241311899 0.3168109003633002842
PTRATIO -0.33408647482704892569 0.06126411100454542733
PCTAF -0.16902216847398228037 0.032701386826987433709
PCTCHRT 0.0049167021229736187891 0.001253877021470957121
PCTYRRND -0.0035799643529617295419 0.00022546326579914839178
PERMINTE_AVYRSEXP -0.014076564775628292212 0.0019045727224657017853
PERMINTE_AVSAL -0.0040049917551898852268 0.00047398377881238048983
AVYRSEXP_AVSAL -0.0039063957859156494393 0.00096236497635301949292
PERSPEN_PTRATIO 0.091714300625330128357 0.014509234070704241255
PERSPEN_PCTAF 0.048989838149198646351 0.0074516664570317915748
PTRATIO_PCTAF 0.0080407389017109722979 0.001499497088263408227
PERMINTE_AVYRSEXP_AVSAL 0.00022200950302438479868 0.000029887937711760094909
PERSPEN_PTRATIO_PCTAF -0.0022492486130486205183 0.00034898383410677058208
const 2.9588779261863626641 1.5467120017482165606
"""


@dataclass(frozen=True)
class Certified:
    """A model's data, and its parameters to full precision, the intercept last."""

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None
    names: tuple[str, ...]
    estimates: np.ndarray
    standard_errors: np.ndarray


def _certified(
    X: np.ndarray, y: np.ndarray, figures: str, sample_weight: np.ndarray | None = None
) -> Certified:
    names, estimates, errors = zip(
        *(line.split() for line in figures.split("\n") if line), strict=True
    )
    return Certified(
        X, y, sample_weight, names[:-1], np.array(estimates, float), np.array(errors, float)
    )


def _columns(table: str, count: int) -> np.ndarray:
    return np.array(table.split(), float).reshape(-1, count).T


def spector() -> Certified:
    """Spector & Mazzeo (1980), in Greene's Econometric Analysis."""
    frame = pytest.importorskip("statsmodels.datasets").spector.load_pandas()
    X = frame.exog[["GPA", "TUCE", "PSI"]].to_numpy(float)
    return _certified(X, frame.endog.to_numpy(int), SPECTOR_CERTIFIED)


def lbw() -> Certified:
    low, age, weight, race, *others = _columns(LBW, 8)
    X = np.column_stack([age, weight, race == 2, race == 3, *others])
    return _certified(X, low, LBW_CERTIFIED)


def vaso() -> Certified:
    constricted, volume, rate = _columns(VASO, 3)
    return _certified(np.log(np.column_stack([volume, rate])), constricted, VASO_CERTIFIED)


def remission() -> Certified:
    remiss, *columns = _columns(REMISSION, 4)
    return _certified(np.column_stack(columns), remiss, REMISSION_CERTIFIED)


def star98() -> Certified:
    """Counts of successes and failures, as two weighted rows for each district."""
    frame = pytest.importorskip("statsmodels.datasets").star98.load_pandas()
    above, below = frame.endog["NABOVE"], frame.endog["NBELOW"]
    X, n = frame.exog.to_numpy(float), len(frame.exog)
    return _certified(
        np.vstack([X, X]), np.repeat([1, 0], n), STAR98_CERTIFIED, np.concatenate([above, below])
    )


DATA = {
    "spector": spector,
    "lbw": lbw,
    "vaso": vaso,
    "remission": remission,
    "star98": star98,
}
