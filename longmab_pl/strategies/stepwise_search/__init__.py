"""Search over blocks of a long answer (LongDPO): propose and judge blocks, check facts, and compare blocks."""
