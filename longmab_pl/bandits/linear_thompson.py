"""Linear Thompson sampling: a linear model of one shared reward for k chunks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import Scores, largest
from longmab_pl.bandits.policy import Reward, check_arms, check_play
from longmab_pl.checks import not_negative, positive


class LinearThompson:
    """Bayesian linear regression of the reward on the indicator of the played arms, played by posterior sampling.

    Full-bandit feedback: the k played arms share one reward, so a mean per arm credits a useless chunk for the useful
    chunks played with it. The model `reward = mean of theta over the played arms + noise` separates them once they
    were played in different combinations. theta_i, in reward units, is the reward if all played arms were like arm i.

    Prior: `theta_i = score_i + b + d_i` with Gaussian `b` and `d_i` of standard deviations `offset_std` and `arm_std`,
    and noise of `noise_std`. Scores and rewards are on different scales; through `b`, low rewards also lower the arms
    not yet played. Without offset the posterior mean is ridge regression around the scores with penalty
    `(noise_std / arm_std)^2`. The scores' influence depends on their spread relative to `arm_std * exploration`.

    Thompson sampling for linear payoffs: Agrawal and Goyal 2013, whose factor v on the posterior's standard deviation
    is `exploration` here; 0 plays the posterior mean. Choosing the k largest of a draw is exact for a linear reward
    (top-k, full-bandit feedback: Rejwan and Mansour 2020).

    Cost: the posterior is stored over the t plays, not over the arms. The inverse of their covariance grows by one row
    per play (bordering, the block form of Sherman-Morrison), and a draw is a prior draw corrected by its error at the
    plays (Matheron's rule: Journel and Huijbregts 1978; Wilson et al. 2020, equation 9). Time per round and memory are
    O(t^2 + arms), also with 1,000 arms.

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms per round; if it exceeds the number of arms, all are played.
        seed: seed of the draws.
        arm_std, offset_std, noise_std: standard deviations of the prior above; `offset_std` may be 0.
        exploration: factor on the draws' deviation from the posterior mean, >= 0; 1 gives the exact posterior.

    Raises:
        DataError: there are no arms, or a score is not finite.
        ConfigError: `top_k` < 1, the seed is negative, or an option is out of range.
    """

    def __init__(
        self,
        initial_scores: Scores,
        top_k: int,
        seed: int = 0,
        arm_std: float = 0.4,
        offset_std: float = 0.5,
        noise_std: float = 0.3,
        exploration: float = 0.3,
    ) -> None:
        self._scores = check_arms(initial_scores, top_k)
        not_negative("seed", seed)
        positive("bandit option arm_std", arm_std)
        positive("bandit option noise_std", noise_std)
        not_negative("bandit option offset_std", offset_std)
        not_negative("bandit option exploration", exploration)
        self.arm_std, self.noise_std = float(arm_std), float(noise_std)
        self.offset_std, self.exploration = float(offset_std), float(exploration)
        self.top_k = min(int(top_k), self._scores.size)
        self.round = 0
        """Number of rounds started so far."""
        self._random = np.random.default_rng(seed)
        self._pulls = np.zeros(self._scores.size, dtype=np.int64)
        # Rows of different lengths, one per play: play j is _arms[_starts[j] : _starts[j] + _sizes[j]].
        self._arms = np.zeros(0, dtype=np.int64)
        self._starts = np.zeros(0, dtype=np.int64)
        self._sizes = np.zeros(0, dtype=np.int64)
        self._rewards = np.zeros(0)
        self._precision = np.zeros((0, 0))
        """Inverse covariance of the rewards so far under the prior, shape [plays, plays]."""

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Posterior mean of each theta, in reward units (not confined to [0, 1]), shape [arms]; a new array."""
        return self._conditioned(self._scores, np.zeros(self._sizes.size))

    @property
    def pulls(self) -> npt.NDArray[np.int64]:
        """Number of plays of each arm, shape [arms]; a copy."""
        return self._pulls.copy()

    def select(self) -> list[int]:
        """Start the next round and return the indices of the arms to play, ascending; of equal draws the later arm."""
        self.round += 1
        return largest(self.sample(), self.top_k)

    def sample(self) -> npt.NDArray[np.float64]:
        """Return one draw of theta from the posterior, its deviation times `exploration`, shape [arms]."""
        arms, offset = np.split(self._random.standard_normal(self._scores.size + 1), [-1])
        prior = self._scores + self.arm_std * arms + self.offset_std * offset
        noise = self.noise_std * self._random.standard_normal(self._sizes.size)
        mean = self.values
        return mean + self.exploration * (self._conditioned(prior, noise) - mean)

    def update(self, indices: Sequence[int], reward: Reward) -> None:
        """Update the posterior with the reward of playing `indices` together, or with one reward for each.

        One reward per arm is semi-bandit feedback: each is an observation of a single arm.

        Raises:
            DataError: an index is out of range or given twice, a reward is not finite, or their number is wrong.
        """
        played, rewards = check_play(indices, reward, self._scores.size)
        if np.ndim(reward) == 0:
            self._observe(played, float(rewards[0]))
        else:
            for arm, credited in zip(played, rewards, strict=True):
                self._observe(np.array([arm]), float(credited))
        self._pulls[played] += 1

    def _observe(self, played: npt.NDArray[np.int64], reward: float) -> None:
        """Add one observation: the mean theta of the arms `played`, plus noise, is `reward`."""
        member = np.zeros(self._scores.size)
        member[played] = 1 / played.size
        # Prior covariance of this reward with the earlier ones, and its own variance.
        cross = self.arm_std**2 * self._means(member) + self.offset_std**2
        variance = self.arm_std**2 / played.size + self.offset_std**2
        self._precision = _bordered_inverse(self._precision, cross, variance + self.noise_std**2)
        self._starts = np.append(self._starts, self._arms.size)
        self._sizes = np.append(self._sizes, played.size)
        self._arms = np.append(self._arms, played)
        self._rewards = np.append(self._rewards, reward)

    def _means(self, theta: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the mean of theta over the arms of each play, shape [plays]."""
        if not self._sizes.size:
            return np.zeros(0)
        sums: npt.NDArray[np.float64] = np.add.reduceat(theta[self._arms], self._starts)
        return sums / self._sizes

    def _conditioned(self, theta: npt.NDArray[np.float64], noise: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return theta given the rewards: `theta + cov(theta, rewards) precision (rewards - predicted - noise)`."""
        weights = self._precision @ (self._rewards - self._means(theta) - noise)
        per_arm = np.bincount(self._arms, np.repeat(weights / self._sizes, self._sizes), minlength=theta.size)
        return theta + self.arm_std**2 * per_arm + self.offset_std**2 * weights.sum()


def _bordered_inverse(
    inverse: npt.NDArray[np.float64], cross: npt.NDArray[np.float64], corner: float
) -> npt.NDArray[np.float64]:
    """Return the inverse of `[[M, cross], [cross', corner]]`, given the inverse of the symmetric M, in O(n^2)."""
    n = cross.size
    column = inverse @ cross
    schur = corner - cross @ column
    grown = np.empty((n + 1, n + 1))
    grown[:n, :n] = inverse + np.outer(column, column) / schur
    grown[:n, n] = grown[n, :n] = -column / schur
    grown[n, n] = 1 / schur
    return grown
