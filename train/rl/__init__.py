"""The algorithm of `train grpo`: rollouts, rewards, advantages, losses, weight sync."""
