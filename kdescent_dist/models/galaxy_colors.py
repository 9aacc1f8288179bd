"""Colors of blue and red galaxies against redshift and magnitude, with photometric noise.

For each galaxy of the input catalog, with ``redshift`` and magnitude ``i``, the model draws the
colors g - r, r - i and i - z of a blue and of a red galaxy. The weights are the blue and the red
fraction at this redshift and magnitude. Every quantity of the model is a track: a natural cubic
spline in redshift through one parameter at each knot, constant beyond the outermost knots. The name
of a parameter has track and knot: ``red_g_r_z090`` is the value of ``red_g_r`` at redshift 0.90.

With m = max(i, 20) - 24, the tracks of each population are

- ``g_r``, ``r_i``, ``i_z`` and their ``_slope``: color + slope x m is the center, in mag;
- ``g_r_logsd``, ...: natural logarithm of the scatter s of a color at fixed earlier colors, in mag;
- ``ri_per_gr``, ``iz_per_gr``, ``iz_per_ri``: slopes k21, k31, k32 of one color against an earlier
  color. Slopes and scatters give the intrinsic covariance B B^T, where B has rows (s1, 0, 0),
  (k21 s1, s2, 0) and (k31 s1, k32 s2, s3);
- ``skew``, ``tail``, ``bend_ri``, ``bend_iz``: the shape, all 0 for a normal distribution;

and the fraction of red galaxies is 1 / (1 + exp(-red_logit - red_logit_slope x m)).

Photometric noise is normal and independent between bands. Its standard deviation is that of a faint
source, 0.2 x 10^(0.4 (magnitude - depth)) mag, but at most 1 mag. A point source at the depth has 5
sigma, and the magnitude is that of the center. The noise covariance is added to the intrinsic
covariance; the noise of two colors with a common band is anticorrelated. With the Cholesky factor L
of the sum and three standard normal numbers e, the colors are

    center + L (u, e2, e3) + (0, bend_ri, bend_iz) (s1^2 / L11) (sqrt(1 + u^2) - 1)
    u = sinh(exp(tail) (asinh(e1) + skew))

so that u has the sinh-arcsinh distribution of Jones & Pewsey (2009, Biometrika 96, 761), and the
distribution bends along g - r, from one straight line into another.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

from kdescent_dist import InputError, Population

Arrays = Mapping[str, jax.Array]

POPULATIONS = ("blue", "red")
COLORS = ("g_r", "r_i", "i_z")
RATIOS = ("ri_per_gr", "iz_per_gr", "iz_per_ri")
SHAPES = ("skew", "tail", "bend_ri", "bend_iz")
OTHERS = (*(f"{c}_slope" for c in COLORS), *(f"{c}_logsd" for c in COLORS), *RATIOS, *SHAPES)
# Colors have the most knots: the 4000 Angstrom break moves quickly through the bands.
COLOR_KNOTS = (
    0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.45, 1.65, 1.9, 2.3
)  # fmt: skip
OTHER_KNOTS = (0.2, 0.5, 0.8, 1.0, 1.2, 1.45, 1.75, 2.1)
TRACKS = {
    **{f"{name}_{color}": COLOR_KNOTS for name in POPULATIONS for color in COLORS},
    **{f"{name}_{other}": OTHER_KNOTS for name in POPULATIONS for other in OTHERS},
    "red_logit": OTHER_KNOTS,
    "red_logit_slope": OTHER_KNOTS,
}
PARAMETERS = {
    track: tuple(f"{track}_z{round(100 * knot):03d}" for knot in knots)
    for track, knots in TRACKS.items()
}
NAMES = tuple(name for names in PARAMETERS.values() for name in names)


def galaxy_colors(
    params: Arrays,
    key: jax.Array,
    catalog: Arrays,
    depths: Sequence[float] = (26.88, 26.96, 26.56, 25.94),
) -> Population:
    """Draw the colors of each galaxy of ``catalog`` twice, as a blue and as a red galaxy.

    Args:
        params: the parameters by name.
        key: random key.
        catalog: ``redshift`` and magnitude ``i``, (n,) each.
        depths: 5-sigma magnitudes of point sources in g, r, i and z.

    Returns:
        The 2 n samples ``g_r``, ``r_i``, ``i_z`` (mag), ``redshift`` and ``i``, blue galaxies
        first, with the blue and red fractions as weights.

    Raises:
        InputError: there are not four depths.
    """
    if len(depths) != 4:
        raise InputError(f"model.options.depths: {list(depths)} must be those in g, r, i and z")
    redshift, mag = catalog["redshift"], catalog["i"]
    tracks = evaluate_tracks(params, redshift)
    normals = jax.random.normal(key, (3, *mag.shape), mag.dtype)
    blue, red = (_colors(_of(name, tracks), mag, depths, normals) for name in POPULATIONS)
    columns = {c: jnp.concatenate(both) for c, *both in zip(COLORS, blue, red, strict=True)}
    logit = tracks["red_logit"] + tracks["red_logit_slope"] * _relative(mag)
    weights = jnp.concatenate([jax.nn.sigmoid(-logit), jax.nn.sigmoid(logit)])
    return Population(columns | {"redshift": jnp.tile(redshift, 2), "i": jnp.tile(mag, 2)}, weights)


def _of(population: str, tracks: Arrays) -> dict[str, jax.Array]:
    """The tracks of one population, with the name of the population removed."""
    return {track: tracks[f"{population}_{track}"] for track in (*COLORS, *OTHERS)}


def _relative(mag: jax.Array) -> jax.Array:
    """max(mag, 20) - 24: there are too few brighter galaxies to constrain slopes."""
    return jnp.maximum(mag, 20.0) - 24.0


def _colors(
    tracks: Arrays, mag: jax.Array, depths: Sequence[float], normals: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw three colors (n,) of one population from tracks (n,) and normal numbers (3, n)."""
    c1, c2, c3 = (tracks[c] + tracks[f"{c}_slope"] * _relative(mag) for c in COLORS)
    mags = (mag + c1 + c2, mag + c2, mag, mag - c3)
    noise = (0.2 * 10.0 ** (0.4 * (m - depth)) for m, depth in zip(mags, depths, strict=True))
    g, r, i, z = (jnp.minimum(sigma, 1.0) ** 2 for sigma in noise)

    s1, s2, s3 = (jnp.exp(tracks[f"{c}_logsd"]) for c in COLORS)
    k21, k31, k32 = (tracks[ratio] for ratio in RATIOS)
    b21, b31, b32 = k21 * s1, k31 * s1, k32 * s2
    l11 = jnp.sqrt(s1**2 + g + r)
    l21 = (b21 * s1 - r) / l11
    l31 = b31 * s1 / l11
    # A sum of covariances is positive definite: the lower limits only catch rounding errors.
    l22 = jnp.sqrt(jnp.maximum(b21**2 + s2**2 + r + i - l21**2, 1e-6))
    l32 = (b31 * b21 + b32 * s2 - i - l31 * l21) / l22
    l33 = jnp.sqrt(jnp.maximum(b31**2 + b32**2 + s3**2 + i + z - l31**2 - l32**2, 1e-6))

    skew, tail, bend2, bend3 = (tracks[shape] for shape in SHAPES)
    e1, e2, e3 = normals
    u = jnp.sinh(jnp.exp(tail) * (jnp.arcsinh(e1) + skew))
    curve = s1**2 / l11 * (jnp.sqrt(1.0 + u**2) - 1.0)
    return (
        c1 + l11 * u,
        c2 + l21 * u + l22 * e2 + bend2 * curve,
        c3 + l31 * u + l32 * e2 + l33 * e3 + bend3 * curve,
    )


def evaluate_tracks(params: Arrays, redshift: jax.Array) -> dict[str, jax.Array]:
    """Evaluate every track at ``redshift`` (n,); returns (n,) values by track."""
    values: dict[str, jax.Array] = {}
    for knots in (COLOR_KNOTS, OTHER_KNOTS):
        tracks = [track for track, its in TRACKS.items() if its is knots]
        at_knots = jnp.stack([jnp.stack([params[p] for p in PARAMETERS[t]]) for t in tracks])
        rows = jnp.matmul(at_knots, spline_basis(redshift, knots), precision="highest")
        values |= dict(zip(tracks, rows, strict=True))
    return values


@cache
def _coefficients(knots: tuple[float, ...]) -> np.ndarray:
    """Coefficients (4 x intervals, K) of K splines, each 1 at one knot and 0 at all others."""
    return CubicSpline(knots, np.eye(len(knots)), bc_type="natural").c.reshape(-1, len(knots))


def spline_basis(x: jax.Array, knots: tuple[float, ...]) -> jax.Array:
    """Evaluate K natural cubic splines at x (n,): spline k is 1 at knot k and 0 at other knots.

    The sum of the splines, weighted with values at the knots, is the spline through these values.
    Splines are constant beyond the outermost knots.

    Returns:
        (K, n) values.
    """
    edges = np.asarray(knots, x.dtype)[:, None]
    x = jnp.clip(x, edges[0], edges[-1])
    interval = jnp.sum(x >= edges[1:-1], axis=0)
    inside = interval == np.arange(len(knots) - 1)[:, None]
    # Powers of the distance from the knot below; 0 except in the row of the interval of x.
    powers = [jnp.where(inside, (x - edges[:-1]) ** power, 0.0) for power in (3, 2, 1, 0)]
    coefficients = _coefficients(knots).astype(x.dtype).T
    return jnp.matmul(coefficients, jnp.concatenate(powers), precision="highest")
