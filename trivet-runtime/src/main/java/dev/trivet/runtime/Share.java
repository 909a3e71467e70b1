package dev.trivet.runtime;

/** The part of a row of equal things that one of several threads takes: {@code first} to {@code end - 1}. May be empty. */
record Share(int first, int end) {
    /** Parts that differ by one at most and together are all of it. */
    static Share of(int total, int member, int members) {
        return new Share(
                Math.toIntExact((long) total * member / members),
                Math.toIntExact((long) total * (member + 1) / members));
    }

    /** The same with parts that begin with whole tiles, where parts are of so many tiles that they stay nearly even. */
    static Share ofTiles(int total, int member, int members, int tile) {
        if (total < 4 * tile * members) {
            return of(total, member, members);
        }
        return new Share(tileStart(total, member, members, tile), tileStart(total, member + 1, members, tile));
    }

    private static int tileStart(int total, int member, int members, int tile) {
        return member == members ? total : Math.round((float) total * member / members / tile) * tile;
    }

    int count() {
        return end - first;
    }
}
