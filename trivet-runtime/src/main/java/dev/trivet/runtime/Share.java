package dev.trivet.runtime;

/** The part of a row of equal things that one of several threads takes: {@code first} to {@code end - 1}. May be empty. */
record Share(int first, int end) {
    /** Parts that differ by one at most and together are all of it. */
    static Share of(int total, int member, int members) {
        return new Share(
                Math.toIntExact((long) total * member / members),
                Math.toIntExact((long) total * (member + 1) / members));
    }

    int count() {
        return end - first;
    }
}
