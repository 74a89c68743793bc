"""The sampler of latents against its equations, by enumeration of every answer and every group of draws."""

import math
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import central_difference, total_variation

from langchain_sea.sampling.latent import LatentSampler, LatentState

seeds = st.integers(0, 2**31)
estimators = st.sampled_from(["bound", "marginal"])
property_ = settings(derandomize=True)
PLAIN = {"normalize": False, "momentum": 0.0, "max_norm": None}
"""Settings under which a step is the equation and nothing else."""


@dataclass(frozen=True)
class Decoder:
    """A policy over the four answers of two binary tokens, whose logits are linear in a latent; float64."""

    bias: torch.Tensor  # (3, 2) logits of the first token, and of the second after each first
    weight: torch.Tensor  # (D, 3, 2)
    energies: torch.Tensor  # (4,)

    @classmethod
    def random(cls, width, *, seed=0, scale=1.0):
        rng = torch.Generator().manual_seed(seed)
        shapes = ((3, 2), (width, 3, 2), (4,))
        bias, weight, energies = (torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes)
        return cls(bias, weight, scale * energies)

    def log_policy(self, latents):
        """Log π(y|z), (G, D) → (G, 4)."""
        rows = (self.bias + torch.einsum("gd,dtv->gtv", latents, self.weight)).log_softmax(-1)
        return (rows[:, 0, :, None] + rows[:, 1:]).flatten(1)

    def log_marginal(self, latents):
        """Log E_y[exp(−E)], (G,)."""
        return (self.log_policy(latents) - self.energies).logsumexp(1)

    def bound(self, latents):
        """E_y[−E], (G,)."""
        return -self.log_policy(latents).exp() @ self.energies

    def pull(self, latents, weights):
        """Σ_y weight(y) ∇_z log π(y|z), (G, D), for weights (G, 4)."""
        latents = latents.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((weights * self.log_policy(latents)).sum(), latents)
        return gradient

    def gradient(self, latents, sampler, draws, rng):
        """The mean over draws of A ∇_z log π, (G, D), as a caller of the sampler computes it."""
        answers = torch.multinomial(self.log_policy(latents).exp(), draws, replacement=True, generator=rng)
        weights = sampler.advantages(self.energies[answers]).to(latents.dtype) / draws
        return self.pull(latents, torch.zeros(len(latents), 4).to(weights).scatter_add(1, answers, weights))


def groups(decoder, latents, draws):
    """Every group of so many draws from one latent, (M, n), whatever their order, and the chance of each, (M,)."""
    answers = torch.tensor(list(combinations_with_replacement(range(4), draws)))
    counts = torch.nn.functional.one_hot(answers, 4).sum(1).double()
    orders = math.lgamma(draws + 1) - torch.lgamma(counts + 1).sum(1)
    return answers, (orders + counts @ decoder.log_policy(latents)[0]).exp()


def expected_gradient(decoder, latents, sampler, draws):
    """The estimator's exact expectation, (1, D): every group of draws counts by its chance."""
    answers, chances = groups(decoder, latents, draws)
    weights = chances[:, None] * sampler.advantages(decoder.energies[answers]) / draws
    return decoder.pull(latents, torch.zeros(1, 4).to(weights).scatter_add(1, answers.view(1, -1), weights.view(1, -1)))


def log_mean(decoder, latents, draws):
    """L_n, (G,): the expectation of log mean exp(−E) over every group of draws."""

    def one(latent):
        answers, chances = groups(decoder, latent[None], draws)
        return chances @ ((-decoder.energies[answers]).logsumexp(1) - math.log(draws))

    return torch.stack([one(latent) for latent in latents])


def spot(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("draws", [2, 3, 8])
def test_bound_is_unbiased(width, draws):
    """The mean over every group of draws is the finite difference of E_y[−E], even with two draws."""
    decoder, latents = Decoder.random(width, scale=2), spot(1, width)
    expected = central_difference(decoder.bound, latents)
    assert expected.norm() > 0.1
    sampler = LatentSampler(estimator="bound", **PLAIN)
    torch.testing.assert_close(expected_gradient(decoder, latents, sampler, draws), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("draws", [2, 3, 8])
def test_marginal_is_unbiased_for_the_log_mean_of_its_draws(draws):
    """The mean over every group of draws is the finite difference of L_n, which lies below the log marginal."""
    decoder, latents = Decoder.random(2, scale=2), spot(1, 2)
    expected = central_difference(lambda z: log_mean(decoder, z, draws), latents)
    sampler = LatentSampler(estimator="marginal", **PLAIN)
    torch.testing.assert_close(expected_gradient(decoder, latents, sampler, draws), expected, atol=1e-6, rtol=0)
    assert decoder.bound(latents) < log_mean(decoder, latents, draws) < decoder.log_marginal(latents)


def test_marginal_tends_to_the_gradient_of_the_log_marginal():
    """Its bias halves when the draws double, and is gone where that leads."""
    decoder, latents = Decoder.random(2), spot(1, 2)
    expected = central_difference(decoder.log_marginal, latents)
    sampler = LatentSampler(estimator="marginal", **PLAIN)
    means = [expected_gradient(decoder, latents, sampler, draws) for draws in (6, 12, 24)]
    errors = [float((mean - expected).norm() / expected.norm()) for mean in means]
    assert errors[0] > 0.02
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.15)
    limit = 2 * means[2] - means[1]  # without the term in 1/n
    assert (limit - expected).norm() < 0.003 * expected.norm()
    assert (central_difference(decoder.bound, latents) - expected).norm() > 0.2 * expected.norm()


def test_marginal_weights_tend_to_the_equation():
    """With many draws A is exp(−E) / E_y[exp(−E)] − 1."""
    energies = 0.5 * spot(1, 1500)
    weights = LatentSampler(estimator="marginal", **PLAIN).advantages(energies)
    expected = (-energies).exp() / (-energies).exp().mean() - 1
    torch.testing.assert_close(weights, expected, atol=0.01, rtol=0.01)


@pytest.mark.parametrize("estimator", ["bound", "marginal"])
def test_draws_from_the_policy_give_the_expected_gradient(estimator):
    """Over many groups the mean is within five standard errors of the enumerated expectation."""
    decoder, latents = Decoder.random(2, scale=2), spot(1, 2)
    sampler, rng = LatentSampler(estimator=estimator, **PLAIN), torch.Generator().manual_seed(0)
    gradients = decoder.gradient(latents.expand(20_000, 2), sampler, 4, rng)
    error = gradients.mean(0) - expected_gradient(decoder, latents, sampler, 4)[0]
    assert (error.abs() < 5 * gradients.std(0) / math.sqrt(len(gradients))).all()


def test_step_is_the_equation():
    """It adds η(∇ − z/s²) + σ√(2η)ξ, where s is a share of the radius; ∇ is that of the log marginal here."""
    decoder, latents, noise = Decoder.random(3), spot(5, 3), spot(5, 3, seed=1)
    sampler = LatentSampler(step_size=0.2, noise_scale=0.7, prior_scale=0.25, estimator="marginal", **PLAIN)
    gradient = central_difference(decoder.log_marginal, latents)
    state = sampler.step(sampler.init(latents), gradient, radius=3.0, noise=noise)

    def log_density(z):
        return decoder.log_marginal(z) + torch.distributions.Normal(0, 0.75).log_prob(z).sum(1)

    expected = latents + 0.2 * central_difference(log_density, latents) + 0.7 * math.sqrt(0.4) * noise
    torch.testing.assert_close(state.latents, expected, atol=1e-7, rtol=0)


def test_steps_of_fixed_length_are_those_of_the_trials():
    """A = −(E − mean)/std; m ← ½m + g/‖g‖; z ← z + ρR·m/‖m‖; ‖z‖ ≤ 0.9R."""
    sampler, radius = LatentSampler(), 4.0
    energies = spot(3, 8)
    expected = -(energies - energies.mean(1, keepdim=True)) / (energies.std(1, keepdim=True) + 1e-6)
    torch.testing.assert_close(sampler.advantages(energies), expected, atol=1e-5, rtol=0)
    z, m = spot(3, 5), torch.zeros(3, 5).double()
    state = sampler.init(z)
    for round_ in range(12):
        g = spot(3, 5, seed=round_ % 2)
        m = m / 2 + g / g.norm(dim=1, keepdim=True)
        z = z + 0.15 * radius * m / m.norm(dim=1, keepdim=True)
        z = z * (0.9 * radius / z.norm(dim=1, keepdim=True)).clamp(max=1)
        state = sampler.step(state, g, radius=radius)
        torch.testing.assert_close(state, LatentState(z, m))
    assert z.norm(dim=1).max() == pytest.approx(3.6)


def test_momentum_without_normalization_adds_gradients():
    """m ← ½m + g, and the step is η·m."""
    sampler = LatentSampler(step_size=0.1, momentum=0.5, normalize=False, max_norm=None)
    first, second = spot(2, 3), spot(2, 3, seed=1)
    state = sampler.step(sampler.init(torch.zeros(2, 3).double()), first, radius=1.0)
    state = sampler.step(state, second, radius=1.0)
    torch.testing.assert_close(state, LatentState(0.1 * (1.5 * first + second), 0.5 * first + second))


BINS = torch.linspace(-4, 4, 21, dtype=torch.float64)


def binned(log_density):
    """The share of each bin, by a sum over a fine grid."""
    grid = torch.linspace(-4, 4, 20_001, dtype=torch.float64)[:-1]
    return log_density(grid[:, None]).softmax(0).view(20, -1).sum(1)


def visited(decoder, sampler, *, chains=800, draws=16, steps=400):
    """The share of each bin among the latents that chains visit, the first fifth of the steps left out."""
    rng, counts = torch.Generator().manual_seed(0), torch.zeros(20, dtype=torch.float64)
    state = sampler.init(torch.randn(chains, 1, generator=rng, dtype=torch.float64))
    for at in range(steps):
        gradient = decoder.gradient(state.latents, sampler, draws, rng)
        noise = torch.randn(chains, 1, generator=rng, dtype=torch.float64)
        state = sampler.step(state, gradient, radius=2.0, noise=noise)
        if at >= steps // 5:
            counts += torch.histogram(state.latents.flatten(), BINS).hist
    return counts / counts.sum()


@pytest.mark.slow
def test_chains_sample_the_enumerated_posterior():
    """Its two modes are far from the prior, and from where chains with the bound's weights go."""
    bias, slope = [[4.0, -4.0], [0.0, 0.0], [0.0, 0.0]], [[4.0, -4.0], [1.0, -1.0], [0.5, -0.5]]
    tables = [torch.tensor(table, dtype=torch.float64) for table in (bias, [slope], [1.0, 4.0, 0.0, 0.0])]
    decoder, prior = Decoder(*tables), torch.distributions.Normal(0, 1)
    exact = binned(lambda z: prior.log_prob(z).sum(1) + decoder.log_marginal(z))
    assert total_variation(binned(lambda z: prior.log_prob(z).sum(1)), exact) > 0.2
    sampler = LatentSampler(step_size=0.03, noise_scale=1.0, prior_scale=0.5, estimator="marginal", **PLAIN)
    assert total_variation(visited(decoder, sampler), exact) < 0.06
    assert total_variation(visited(decoder, replace(sampler, estimator="bound")), exact) > 0.12


@given(seed=seeds, estimator=estimators, draws=st.integers(2, 20))
@property_
def test_standardised_advantages_have_mean_zero_and_deviation_one(seed, estimator, draws):
    """In every group, and the lowest energy has the highest weight."""
    energies = 3 * spot(4, draws, seed=seed)
    weights = LatentSampler(estimator=estimator).advantages(energies)
    torch.testing.assert_close(weights.mean(1), torch.zeros(4).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(weights.std(1), torch.ones(4).double(), atol=1e-9, rtol=0)
    assert weights.argsort(1).tolist() == energies.argsort(1, descending=True).tolist()


@given(seed=seeds, estimator=estimators, normalize=st.booleans(), constant=st.floats(-50, 50))
@property_
def test_advantages_do_not_depend_on_a_constant(seed, estimator, normalize, constant):
    """Only differences between the energies of a group count."""
    energies, sampler = spot(3, 6, seed=seed), LatentSampler(estimator=estimator, normalize=normalize)
    torch.testing.assert_close(sampler.advantages(energies + constant), sampler.advantages(energies))


@given(seed=seeds, factor=st.floats(-6, 6).map(lambda power: 10**power))
@property_
def test_standardised_bound_does_not_depend_on_the_unit_of_the_energy(seed, factor):
    """Without normalisation it grows with the energy."""
    energies, sampler = spot(3, 6, seed=seed), LatentSampler()
    torch.testing.assert_close(sampler.advantages(factor * energies), sampler.advantages(energies))
    plain = LatentSampler(normalize=False)
    torch.testing.assert_close(plain.advantages(factor * energies), factor * plain.advantages(energies))


@given(
    seed=seeds, estimator=estimators, normalize=st.booleans(),
    bad=st.lists(st.sampled_from([0.0, math.nan, math.inf, -math.inf]), min_size=6, max_size=6),
)  # fmt: skip
@property_
def test_draws_without_a_finite_energy_count_nothing(seed, estimator, normalize, bad):
    """Their weight is 0, and the others have the weights they would have alone."""
    energies, sampler = spot(1, 6, seed=seed), LatentSampler(estimator=estimator, normalize=normalize)
    energies = energies + torch.tensor([bad])
    weights, finite = sampler.advantages(energies), energies.isfinite()
    assert (weights[~finite] == 0).all()
    if finite.any():
        torch.testing.assert_close(weights[finite][None], sampler.advantages(energies[finite][None]))
    both = sampler.advantages(torch.cat([energies, spot(1, 6)]))
    torch.testing.assert_close(both[1:], sampler.advantages(spot(1, 6)))


@given(
    value=st.floats(1, 1e4).flatmap(lambda v: st.sampled_from([v, -v, 1 / v])),
    estimator=estimators,
    normalize=st.booleans(),
    draws=st.integers(1, 9),
)
@property_
def test_equal_energies_have_no_weight(value, estimator, normalize, draws):
    """Nor have energies that differ by their rounding alone."""
    energies, sampler = torch.full((2, draws), value), LatentSampler(estimator=estimator, normalize=normalize)
    energies[1, 0] = torch.nextafter(energies[1, 0], torch.tensor(torch.inf))
    assert (sampler.advantages(energies) == 0).all()


@pytest.mark.parametrize("estimator", ["bound", "marginal"])
@pytest.mark.parametrize("normalize", [True, False])
def test_advantages_are_finite_whatever_the_spread(estimator, normalize):
    """Exponentials neither overflow nor vanish, and differences near the last bit divide by no zero."""
    sampler = LatentSampler(estimator=estimator, normalize=normalize)
    for energies in ([0.0, 1e4, -1e4], [1e30, 0.0, 0.0], [1e-12, 0.0, 2e-12], [1.0, 1.0 + 3e-6, 1.0]):
        weights = sampler.advantages(torch.tensor([energies]))[0]
        assert weights.isfinite().all()
        assert weights[torch.tensor(energies).argmin()] == weights.max()
        assert weights.any() or max(energies) - min(energies) < 1e-5


configs = st.builds(
    LatentSampler,
    step_size=st.floats(0.01, 2),
    momentum=st.floats(0, 0.95),
    max_norm=st.floats(0.1, 2),
    noise_scale=st.sampled_from([0.0, 1.0]),
    prior_scale=st.none() | st.floats(0.1, 1),
    normalize=st.booleans(),
)


@given(sampler=configs, seed=seeds, radius=st.floats(0.01, 100), size=st.floats(-3, 3).map(lambda power: 10**power))
@property_
def test_the_trust_region_holds(sampler, seed, radius, size):
    """After every step, whatever the gradient and the noise."""
    state = sampler.init(torch.zeros(3, 4).double())
    for at in range(5):
        gradient, noise = size * spot(3, 4, seed=seed + at), spot(3, 4, seed=seed - at - 1)
        state = sampler.step(state, gradient, radius=radius, noise=noise)
        assert (state.latents.norm(dim=1) <= sampler.max_norm * radius * (1 + 1e-9)).all()
        assert (state.latents != 0).all()


@given(seed=seeds, normalize=st.booleans(), bad=st.sampled_from([0.0, math.nan, math.inf]))
@property_
def test_a_zero_or_non_finite_gradient_moves_nothing(seed, normalize, bad):
    """Neither the latent nor the momentum of its group; the others move as they would alone."""
    sampler, gradient = LatentSampler(normalize=normalize), spot(3, 4, seed=seed)
    before = sampler.step(sampler.init(spot(3, 4)), gradient, radius=5.0)
    gradient[1] *= bad
    gradient[1, 1:] *= 0 if bad == 0 else 1
    after = sampler.step(before, gradient, radius=5.0)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[1], new[1])
        assert (old[[0, 2]] != new[[0, 2]]).all()
    others = sampler.step(LatentState(*(part[[0, 2]] for part in before)), gradient[[0, 2]], radius=5.0)
    torch.testing.assert_close(others.latents, after.latents[[0, 2]])


def test_prior_and_noise_move_a_group_without_a_gradient():
    """Its draws say nothing, but the target does; a gradient that is not finite stops them too."""
    noise, zero = spot(2, 3), torch.zeros(2, 3).double()
    pulled = LatentSampler(step_size=0.1, prior_scale=0.5, **PLAIN)
    state = pulled.step(pulled.init(spot(2, 3, seed=1)), zero, radius=2.0)
    torch.testing.assert_close(state.latents, 0.9 * spot(2, 3, seed=1))
    noisy = LatentSampler(step_size=0.1, noise_scale=1.0, **PLAIN)
    torch.testing.assert_close(noisy.step(noisy.init(zero), zero, radius=2.0, noise=noise).latents, 0.2**0.5 * noise)
    assert (noisy.step(noisy.init(zero), zero + torch.nan, radius=2.0, noise=noise).latents == 0).all()


def test_a_step_that_would_overflow_is_not_taken():
    """In the largest numbers of float32 the group stays, and the other one moves."""
    sampler = LatentSampler(normalize=False, step_size=1e3, max_norm=None)
    state = sampler.step(sampler.init(torch.ones(2, 2)), torch.tensor([[3e38, 0], [1.0, 0]]), radius=1.0)
    assert state.latents.tolist() == [[1, 1], [1001, 1]]
    assert state.momentum.tolist() == [[0, 0], [1, 0]]


@given(seed=seeds, power=st.integers(-35, 35))
@property_
def test_steps_of_fixed_length_do_not_depend_on_the_gradients_length(seed, power):
    """Even where its square overflows or vanishes in float32; the first step has the length that was set."""
    sampler, gradient = LatentSampler(step_size=0.2), spot(3, 4, seed=seed).float()
    start = sampler.init(torch.zeros(3, 4))
    state = sampler.step(start, gradient * 10.0**power, radius=3.0)
    torch.testing.assert_close(state, sampler.step(start, gradient, radius=3.0))
    torch.testing.assert_close(state.latents.norm(dim=1), torch.full((3,), 0.6))


def test_noise_beside_steps_of_fixed_length_is_a_share_of_the_radius():
    """Its root mean square length is σ·√(2η) radii, whatever the width."""
    sampler = LatentSampler(step_size=0.02, noise_scale=0.5, max_norm=None)
    zero, noise = torch.zeros(4000, 50).double(), spot(4000, 50)
    latents = sampler.step(sampler.init(zero), zero, radius=3.0, noise=noise).latents
    assert latents.square().sum(1).mean().sqrt() == pytest.approx(3 * 0.5 * 0.2, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    """Latents, gradients, noise and energies: the result is that of the same numbers in float32."""
    sampler = LatentSampler(noise_scale=0.1, prior_scale=0.5)
    z, g, noise, energies = (spot(2, 8, seed=seed).to(dtype) for seed in range(4))
    state = sampler.step(sampler.init(z), g, radius=2.0, noise=noise)
    assert {part.dtype for part in state} == {torch.float32}
    expected = sampler.step(sampler.init(z.float()), g.float(), radius=2.0, noise=noise.float())
    assert all(map(torch.equal, state, expected))
    assert torch.equal(sampler.advantages(energies), sampler.advantages(energies.float()))
    assert sampler.advantages(energies.double()).dtype == torch.float64


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "median"},
        *({"step_size": value} for value in (0.0, -1.0, math.inf, math.nan)),
        *({"momentum": value} for value in (-0.1, 1.0, math.nan)),
        *({"noise_scale": value} for value in (-1.0, math.inf, math.nan)),
        *({name: value} for name in ("max_norm", "prior_scale") for value in (0.0, -1.0, math.inf, math.nan)),
    ],
)
def test_settings_that_mean_nothing_are_refused(options):
    """The message names the field and its value."""
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        LatentSampler(**options)


def test_arguments_of_the_wrong_shape_are_refused():
    """So are a radius that is no length, and noise that is missing."""
    sampler, zero = LatentSampler(), torch.zeros(2, 3)
    state = sampler.init(zero)
    with pytest.raises(ValueError, match=r"latents have the shape \(3,\).*\(G, D\)"):
        sampler.init(zero[0])
    with pytest.raises(ValueError, match=r"energies have the shape \(3,\).*\(G, n\)"):
        sampler.advantages(zero[0])
    with pytest.raises(ValueError, match=r"gradient has the shape \(1, 3\), but the latents have \(2, 3\)"):
        sampler.step(state, zero[:1], radius=1.0)
    noisy = LatentSampler(noise_scale=0.5)
    with pytest.raises(ValueError, match=r"noise has the shape \(1, 3\)"):
        noisy.step(state, zero, radius=1.0, noise=zero[:1])
    with pytest.raises(ValueError, match=r"noise_scale=0.5 needs noise"):
        noisy.step(state, zero, radius=1.0)
    for radius in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"radius={radius}"):
            sampler.step(state, zero, radius=radius)
