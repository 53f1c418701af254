"""The safety layer: limits of joint targets and conditions that trip."""
