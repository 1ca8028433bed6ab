/// Tells whether a number has exactly two divisors.
#[must_use]
pub const fn is_prime(number: u32) -> bool {
    let number = number as u64;
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    number > 1
}

#[cfg(test)]
mod tests {
    use super::is_prime;

    #[test]
    fn primes_are_told_from_others() {
        let primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29];
        for number in 0..30 {
            assert_eq!(is_prime(number), primes.contains(&number), "{number}");
        }
        assert!(is_prime(65_537) && is_prime(655_373) && !is_prime(65_536));
        assert!(is_prime(4_294_967_291) && !is_prime(u32::MAX));
    }
}
