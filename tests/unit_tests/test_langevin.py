"""The sampler against equations, against torch, and against distributions known by enumeration."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_cases import first_fast
from toy import (
    Toy,
    central_difference,
    finds_optimum,
    finite_difference_error,
    generators,
    occupancy,
    total_variation,
    ula_bias,
)

from langchain_sea.sampling import langevin
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation

seeds = st.integers(0, 2**31)
property_ = settings(derandomize=True)
METHODS = [
    Langevin(kernel="ula", step_size=0.3),
    Langevin(kernel="mala", step_size=0.3),
    Langevin(kernel="adam", step_size=0.3),
    Langevin(kernel="adam", noise="transient", schedule=((0, 1.0),)),
    Langevin(kernel="ula", noise="transient", schedule=((0, 1.0),)),
]


def quadratic(y):
    return 0.5 * y.flatten(1).square().sum(1)


def flat(y):
    return 0 * y.flatten(1).sum(1)


def spot(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def walk(position, energy_fn, method, rngs, steps):
    """All states and infos of a run."""
    states, infos = [langevin.init(position, energy_fn, method, rngs)], []
    for _ in range(steps):
        state, info = langevin.step(states[-1], energy_fn, method, rngs)
        states.append(state)
        infos.append(info)
    return states, infos


def test_mala_samples_the_enumerated_target():
    """Discretised MALA is within 0.05 of π·exp(r), noise floor under 0.02; without its test it is far off."""
    toy = Toy.random(4, 2, 0, scale=0.5)
    shares, floor = occupancy(toy, Langevin(kernel="mala", step_size=0.4), chains=256, steps=300)
    assert floor < 0.02
    assert total_variation(shares, toy.exact()) <= 0.05
    unadjusted, _ = occupancy(toy, Langevin(kernel="ula", step_size=0.4), chains=256, steps=100)
    assert total_variation(unadjusted, toy.exact()) > 0.2
    assert total_variation(toy.log_policy().flatten().exp(), toy.exact()) > 0.2


def test_the_toy_is_what_it_says():
    """Log π is normalised and the straight-through energy at a one-hot is minus the table's entry."""
    toy = Toy.random(5, 3, 1)
    assert toy.log_policy().exp().sum().item() == pytest.approx(1)
    ids = torch.cartesian_prod(*[torch.arange(5)] * 3)
    energy = toy.energy(Relaxation(kind="straight_through"), base=False)(torch.eye(5).double()[ids])
    torch.testing.assert_close(energy, -toy.score().flatten())


@pytest.mark.parametrize("step_size", [0.1, 0.5, 1.0])
def test_ula_has_the_variance_theory_gives(step_size):
    """On ½y² unadjusted Langevin's stationary variance is 1/(1 - η/2): a known bias, falling with η."""
    method, rngs = Langevin(kernel="ula", step_size=step_size), generators(2)
    states, _ = walk(spot(2, 20_000), quadratic, method, rngs, round(6 / step_size))
    variance = states[-1].position.square().mean().item()
    assert variance == pytest.approx(1 / (1 - step_size / 2), abs=0.04)


def test_mala_has_no_bias_where_ula_does():
    """On ½y² at a step size where unadjusted Langevin doubles the variance, MALA's stays at 1."""
    method, rngs = Langevin(kernel="mala", step_size=1.0), generators(500)
    states, infos = walk(spot(500, 1), quadratic, method, rngs, 60)
    variance = torch.stack([s.position for s in states[10:]]).square().mean().item()
    assert variance == pytest.approx(1, abs=0.05)
    assert 0.2 < torch.stack([i.is_accepted for i in infos]).double().mean() < 0.95


def test_ula_bias_falls_with_the_step_size_on_the_toy():
    """The bias of E‖y‖² against quadrature shrinks at every halving of η."""
    toy = Toy.random(2, 2, 0)
    biases = [ula_bias(toy, eta, chains=128, steps=round(40 / eta)) for eta in (0.8, 0.4, 0.2)]
    assert biases[0] > 1.5 * biases[1] > 2.25 * biases[2] > 0


@pytest.mark.parametrize("case", first_fast(range(10), 2))
def test_the_optimum_of_the_toy_is_found(case):
    """Keep-best over straight-through Adam finds the enumerated optimum in all of ten cases."""
    assert finds_optimum(case)


def test_gradients_match_finite_differences():
    """The state's gradient is the energy's, to 1e-6 in float64."""
    assert finite_difference_error() < 1e-6


def test_straight_through_gradients_match_finite_differences():
    """The gradient is that of <dM/dx at the hard tokens, soft(y)>, M the multilinear extension."""
    toy, hard, soft = Toy.random(4, 3, 2), Relaxation(kind="straight_through"), Relaxation(kind="soft")
    point = spot(2, 3, 4)
    tokens = hard(point).requires_grad_()
    at_tokens = toy.energy(lambda y: y, base=False)
    (slope,) = torch.autograd.grad(at_tokens(tokens).sum(), tokens)
    expected = central_difference(lambda y: (slope * soft(y)).sum((1, 2)), point)
    state = langevin.init(point, toy.energy(hard, base=False), Langevin(), generators(2))
    torch.testing.assert_close(state.gradient, expected, atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(state.energy, at_tokens(hard(point)))


def test_ula_is_the_equation():
    """One step is y - η∇E + σ√(2η)ξ with ξ the generators' own draws."""
    method, point = Langevin(kernel="ula", step_size=0.2, noise_scale=0.7), spot(3, 2, 4)
    states, (info,) = walk(point, quadratic, method, generators(3), 1)
    xi = langevin.normal(point, generators(3))
    torch.testing.assert_close(states[1].position, point - 0.2 * point + 0.7 * math.sqrt(0.4) * xi)
    assert info.acceptance_rate.tolist() == [1, 1, 1]
    assert info.is_accepted.all()
    assert info.is_finite.all()


def test_mala_acceptance_is_the_metropolis_ratio():
    """Acceptance is min(1, exp(E(y) - E(y')) q(y|y') / q(y'|y)) with q written out as densities."""
    eta, point = 0.9, 2 * spot(64, 3)
    _, (info,) = walk(point, quadratic, Langevin(kernel="mala", step_size=eta), generators(64), 1)
    proposal = (1 - eta) * point + math.sqrt(2 * eta) * langevin.normal(point, generators(64))

    def log_q(to, start):
        return torch.distributions.Normal((1 - eta) * start, math.sqrt(2 * eta)).log_prob(to).sum(1)

    ratio = quadratic(point) - quadratic(proposal) + log_q(point, proposal) - log_q(proposal, point)
    torch.testing.assert_close(info.acceptance_rate, ratio.clamp(max=0).exp())


def test_mala_stays_where_it_rejects():
    """A rejected chain keeps position, energy and gradient; an accepted one takes those of its new point."""
    states, (info,) = walk(2 * spot(64, 3), quadratic, Langevin(kernel="mala", step_size=1.2), generators(64), 1)
    before, after = states
    assert 0 < info.is_accepted.sum() < 64
    assert torch.equal(after.position[~info.is_accepted], before.position[~info.is_accepted])
    assert (after.position[info.is_accepted] != before.position[info.is_accepted]).all()
    torch.testing.assert_close(after.energy, quadratic(after.position))
    torch.testing.assert_close(after.gradient, after.position)


def test_adam_matches_torch():
    """Twenty noiseless steps follow torch.optim.Adam, betas and epsilon included."""
    scales = torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64)
    energy_fn = lambda y: (scales * y.cos()).sum(1)  # noqa: E731
    method = Langevin(kernel="adam", step_size=0.07, noise_scale=0, betas=(0.8, 0.95), epsilon=1e-3)
    states, _ = walk(spot(4, 3), energy_fn, method, generators(4), 20)
    parameter = spot(4, 3).requires_grad_()
    optimizer = torch.optim.Adam([parameter], lr=0.07, betas=(0.8, 0.95), eps=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        energy_fn(parameter).sum().backward()
        optimizer.step()
    torch.testing.assert_close(states[-1].position, parameter.detach())


@property_
@given(seeds, st.floats(1e-3, 10))
def test_adams_first_step_is_the_sign_of_the_gradient(seed, step_size):
    """Whatever the gradient's size, the first step is η in every coordinate."""
    point = spot(2, 3, seed=seed)
    method = Langevin(kernel="adam", step_size=step_size, noise_scale=0)
    states, _ = walk(point, lambda y: 1e3 * quadratic(y), method, generators(2), 1)
    move = states[1].position - point
    torch.testing.assert_close(move, -step_size * point.sign(), rtol=1e-4, atol=1e-4 * step_size)


@settings(property_, max_examples=30)
@given(seeds, st.sampled_from(METHODS), st.integers(1, 5), st.integers(1, 40), st.sampled_from(["f", "d"]))
def test_a_chain_is_the_same_alone_and_in_a_batch(seed, method, chains, width, kind):
    """Every field of a chain is bitwise the same whatever shares its batch, and differs between seeds."""
    dtype = torch.float32 if kind == "f" else torch.float64
    point = spot(chains, 2, width, seed=seed).to(dtype)
    together, infos = walk(point, quadratic, method, generators(chains, seed % 999), 3)
    for chain in range(chains):
        rngs = generators(chains, seed % 999)[chain : chain + 1]
        alone, infos_alone = walk(point[chain : chain + 1], quadratic, method, rngs, 3)
        for ours, theirs in zip([*together[-1][:-1], *infos[-1]], [*alone[-1][:-1], *infos_alone[-1]], strict=True):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours[chain], theirs[0])
    if method.noise == "langevin" and method.kernel != "mala":
        other, _ = walk(point, quadratic, method, generators(chains, seed % 999 + 1), 3)
        assert not torch.equal(other[-1].position, together[-1].position)


@pytest.mark.parametrize("method", METHODS)
def test_state_and_callers_tensor_are_left_alone(method):
    """A step returns a new state; what it was given, the caller's start included, keeps its values."""
    point = spot(2, 3)
    state = langevin.init(point, quadratic, method, rngs := generators(2))
    copies = [field.clone() for field in state[:-1]]
    langevin.step(state, quadratic, method, rngs)
    assert all(torch.equal(field, copy) for field, copy in zip(state[:-1], copies, strict=True))
    assert torch.equal(point, spot(2, 3))
    assert not point.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_taken_under_no_grad(method):
    """A caller's no_grad does not switch the sampler off, and no graph is kept in the state."""
    with torch.no_grad():
        states, _ = walk(spot(2, 3), quadratic, method, generators(2), 1)
    state = states[-1]
    torch.testing.assert_close(state.gradient, state.position + state.offset)
    assert not any(field.requires_grad for field in state[:-1])


@pytest.mark.parametrize("kernel", ["ula", "adam"])
def test_transient_noise_never_enters_the_state(kernel):
    """With a zero gradient the position stays bitwise, while the evaluation point moves every step."""
    method = Langevin(kernel=kernel, noise="transient", schedule=((0, 2.0),))
    states, _ = walk(spot(2, 3), flat, method, generators(2), 4)
    assert all(torch.equal(state.position, spot(2, 3)) for state in states)
    assert all((state.offset != 0).all() for state in states)
    assert len({state.offset[0, 0].item() for state in states}) == 5


@property_
@given(st.lists(st.integers(0, 8), unique=True, max_size=4).map(sorted), st.integers(0, 8))
def test_the_schedule_holds_from_its_step(starts, steps):
    """The offset at step n has the deviation of the last pair begun, and is zero before the first."""
    schedule = tuple((start, 10.0**index) for index, start in enumerate(starts))
    method = Langevin(step_size=1e-3, noise="transient", schedule=schedule)
    states, _ = walk(torch.zeros(1, 400), flat, method, generators(1), steps)
    for n, state in enumerate(states):
        sigma = max([s for start, s in schedule if start <= n], default=0.0)
        assert state.step == n
        assert state.offset.std().item() == pytest.approx(sigma, rel=0.25)


@pytest.mark.parametrize("kernel", ["ula", "adam"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_non_finite_energy_is_reported_for_its_chain_alone(kernel, value):
    """The chain is flagged, the run goes on, and the other chain walks as if alone."""

    def energy_fn(y):
        return torch.where(y[:, 0] > 50, value, quadratic(y))

    method, point = Langevin(kernel=kernel, step_size=1e-3), torch.tensor([[100.0, 1.0], [1.0, 1.0]])
    states, (info,) = walk(point, energy_fn, method, generators(2), 1)
    assert info.is_finite.tolist() == [False, True]
    alone, _ = walk(point[1:], quadratic, method, generators(2)[1:], 1)
    assert torch.equal(states[1].position[1], alone[1].position[0])


def test_a_non_finite_gradient_is_reported():
    """A finite energy with an infinite slope is not finite."""
    _, (info,) = walk(torch.zeros(1, 2), lambda y: y.sqrt().sum(1), Langevin(noise_scale=0), generators(1), 1)
    assert info.is_finite.tolist() == [False]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_mala_rejects_a_non_finite_proposal(value):
    """A proposal without a finite energy is reported, has acceptance 0 and leaves the chain where it was."""
    inside = torch.zeros(3, 2)

    def energy_fn(y):
        return torch.where((y == inside).all(1), quadratic(y), value)

    states, (info,) = walk(inside, energy_fn, Langevin(kernel="mala"), generators(3), 1)
    assert not info.is_finite.any()
    assert not info.is_accepted.any()
    assert info.acceptance_rate.tolist() == [0, 0, 0]
    assert torch.equal(states[1].position, inside)
    assert states[1].energy.isfinite().all()


@pytest.mark.parametrize(("value", "accepted"), [(math.inf, True), (math.nan, False)])
def test_mala_started_at_a_non_finite_energy_has_a_defined_acceptance(value, accepted):
    """From infinite energy every finite proposal is taken; from NaN none is; the acceptance is never NaN."""

    def energy_fn(y):
        return torch.where(y[:, 0] == 9, value, quadratic(y))

    _, (info,) = walk(torch.full((3, 2), 9.0), energy_fn, Langevin(kernel="mala"), generators(3), 1)
    assert info.is_accepted.tolist() == [accepted] * 3
    assert info.acceptance_rate.tolist() == [float(accepted)] * 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 3, 4, 5)])
def test_any_trailing_shape_will_do(method, shape):
    """Scalars, vectors and tables per chain all walk, and every field keeps its shape."""
    energy_fn = lambda y: 0.5 * y.reshape(2, -1).square().sum(1)  # noqa: E731
    states, _ = walk(spot(*shape), energy_fn, method, generators(2), 2)
    state = states[-1]
    assert state.position.shape == state.gradient.shape == state.offset.shape == shape
    assert state.energy.shape == (2,)
    assert not torch.equal(state.position, states[0].position)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_raised_and_the_rest_kept(dtype):
    """The state is float32, or float64 if the start was."""
    states, _ = walk(torch.ones(2, 3, dtype=dtype), quadratic, Langevin(kernel="mala"), generators(2), 1)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert {field.dtype for state in states for field in state[:-1]} == {expected}


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"kernel": "hmc"}, "kernel='hmc'"),
        ({"noise": "pink"}, "noise='pink'"),
        ({"step_size": 0.0}, "step_size=0.0"),
        ({"step_size": math.inf}, "step_size=inf"),
        ({"noise_scale": -1.0}, "noise_scale=-1.0"),
        ({"noise_scale": math.nan}, "noise_scale=nan"),
        ({"kernel": "mala", "noise": "transient"}, "'transient' and 1.0"),
        ({"kernel": "mala", "noise_scale": 0.5}, "'langevin' and 0.5"),
        ({"betas": (1.0, 0.9)}, r"betas=\(1.0, 0.9\)"),
        ({"betas": (0.9, -0.1)}, r"betas=\(0.9, -0.1\)"),
        ({"epsilon": 0.0}, "epsilon=0.0"),
        ({"schedule": ((5, 1.0), (0, 2.0))}, r"schedule=\(\(5, 1.0\)"),
        ({"schedule": ((0, 1.0), (0, 2.0))}, "schedule="),
        ({"schedule": ((0, -1.0),)}, r"schedule=\(\(0, -1.0\)"),
    ],
)
def test_bad_methods_are_refused_with_their_value(settings_, message):
    """The error names the field and the value."""
    with pytest.raises(ValueError, match=message):
        Langevin(**settings_)


def test_one_generator_per_chain_is_required():
    """The error counts both."""
    with pytest.raises(ValueError, match="1 generators for 2 chains"):
        langevin.init(torch.zeros(2, 3), quadratic, Langevin(), generators(1))
