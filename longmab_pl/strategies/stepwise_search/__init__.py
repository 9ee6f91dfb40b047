"""Search over blocks of a long answer (LongDPO): propose, judge, keep the facts consistent, and compare blocks."""
