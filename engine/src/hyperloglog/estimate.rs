//! From registers to a number: Ertl's estimator ("New cardinality estimation algorithms for HyperLogLog sketches", 2017), which redis
//! uses too. Operations come in an order that gives the same bits.

use super::{HyperLogLog, RANK_BITS, REGISTERS, Registers};

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// What registers contribute that are still 0.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// What registers contribute that are as high as can be.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

impl Registers {
    /// How many different elements have been added, about.
    pub fn estimate(&self) -> u64 {
        let mut having = [0u32; 64];
        self.iter().for_each(|rank| having[usize::from(rank) % 64] += 1);
        let (all, top) = (REGISTERS as f64, RANK_BITS as usize);
        let mut z = all * tau((all - f64::from(having[top + 1])) / all);
        for count in having[1..=top].iter().rev() {
            z += f64::from(*count);
            z *= 0.5;
        }
        z += all * sigma(f64::from(having[0]) / all);
        (ALPHA * all * all / z).round() as u64
    }
}

/// Whether estimates are as good as they should be, sparse and dense ones alike: what PFSELFTEST asks. In words what is wrong.
///
/// # Errors
/// If they are not.
pub fn self_test() -> Result<(), String> {
    let (mut sparse, mut dense) = (HyperLogLog::new(), HyperLogLog::new());
    let failed = |what: &str, at: u64| format!("TESTFAILED {what} after {at} elements");
    let broken = |_| failed("registers can't be read", 0);
    dense.make_dense().map_err(broken)?;
    for number in 1..=100_000u64 {
        let element = number.to_le_bytes();
        let changes = [&mut sparse, &mut dense].map(|hll| hll.add(&element, 3000));
        if changes[0] != changes[1] {
            return Err(failed("sparse and dense registers differ", number));
        }
        if number.is_power_of_two() || number == 100_000 {
            let [one, other] = [&sparse, &dense].map(HyperLogLog::registers);
            let (one, other) = (one.map_err(broken)?, other.map_err(broken)?);
            // four times the standard error, 1.04 / sqrt(16384)
            let bound = number as f64 * 0.0325 + 1.0;
            if one != other || (one.estimate() as f64 - number as f64).abs() > bound {
                return Err(failed("the estimate is too far off", number));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_of_itself_passes() {
        self_test().unwrap();
    }

    #[test]
    fn the_ends_are_numbers() {
        assert_eq!(Registers::new().estimate(), 0);
        for rank in [1, 50, 51, 63] {
            let mut registers = Registers::new();
            registers.0.fill(rank);
            let _ = registers.estimate();
        }
    }
}
