#!/usr/bin/perl
# Perl's MCE (Many-Core Engine): the same work as bench_pool.c, with fewer operations where it is slow; figures in the same units (see
# bench.h). Its workers are processes that live from one map to the next.
use strict;
use warnings;
use MCE::Child;
use MCE::Map;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $quick = grep { $_ eq '--quick' } @ARGV;
my ($wanted) = grep { !/^--/ } @ARGV;
exit 0 if grep { $_ eq '--sweep' } @ARGV;
$| = 1;

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub count {
    my ($full) = @_;
    return $quick && $full > 50 ? int($full / 50) : $full;
}

sub figure {
    my ($work, $value, $unit) = @_;
    printf "Perl MCE,%s,%.4g,%s\n", $work, $value, $unit if !defined $wanted || index($work, $wanted) >= 0;
}

my ($begin, $items, @squares);

$begin = now();
for (1 .. count(200)) {
    MCE::Child->create(sub { })->join;
}
figure('process start + join', (now() - $begin) / count(200) * 1e6, 'µs');

$items = count(1000000);
MCE::Map->init(max_workers => 2, chunk_size => 'auto');
@squares = mce_map_s { $_ * $_ } 0, $items - 1; # starts the workers
$begin = now();
@squares = mce_map_s { $_ * $_ } 0, $items - 1;
figure('map of x*x over 1 M ints', (now() - $begin) * 1e3, 'ms');
MCE::Map->finish;
die "MCE::Map gave too little\n" if @squares != $items;

$items = count(20000);
MCE::Map->init(max_workers => 2, chunk_size => 1);
@squares = mce_map_s { $_ * $_ } 0, $items - 1;
$begin = now();
@squares = mce_map_s { $_ * $_ } 0, $items - 1;
figure('map with chunk size 1', $items / (now() - $begin) * 1e-6, 'M/s');
MCE::Map->finish;
