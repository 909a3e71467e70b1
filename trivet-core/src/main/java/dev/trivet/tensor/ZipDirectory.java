package dev.trivet.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The directory of a zip file in memory (PKWARE's APPNOTE 6.3, with zip64), checked in full: every entry lies inside the file,
 * no two overlap, names are unique, and what the compressed ones unpack to is bounded. {@code java.util.zip} does not tell
 * where an entry's bytes lie, which mapping a stored tensor needs.
 */
final class ZipDirectory {
    /** How many times the file's size its compressed entries may unpack to; weights hardly compress at all. */
    static final int MOST_EXPANSION = 16;
    /** Let a small file hold a well compressed pickle. */
    private static final long FREE_EXPANSION = 1 << 20;

    private static final int MOST_ENTRIES = 200_000;
    private static final int LOCAL = 0x04034b50;
    private static final int CENTRAL = 0x02014b50;
    private static final int END = 0x06054b50;
    private static final int END_64 = 0x06064b50;
    private static final int LOCATOR_64 = 0x07064b50;
    private static final int END_BYTES = 22;
    private static final long SATURATED = 0xffff_ffffL;

    private static final ValueLayout.OfShort I16 = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt I32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong I64 = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /**
     * One file of the archive.
     *
     * @param stored bytes in the archive, from {@code offset}
     * @param size bytes once unpacked
     * @param crc CRC-32 of those; PyTorch writes 0 where it was told not to compute it
     */
    record Entry(String name, boolean deflated, long offset, long stored, long size, int crc) {}

    private record Place(long start, long end, String name) {}

    private final MemorySegment file;
    private final Map<String, Entry> entries = new LinkedHashMap<>();
    private final java.util.ArrayList<Place> places = new java.util.ArrayList<>();

    private ZipDirectory(MemorySegment file) {
        this.file = file;
    }

    static boolean startsLikeZip(byte[] start) {
        return start.length >= 4 && start[0] == 'P' && start[1] == 'K' && start[2] == 3 && start[3] == 4;
    }

    /** Entries by name, in the order of the directory. */
    static Map<String, Entry> read(MemorySegment file) throws MalformedTorchException {
        ZipDirectory directory = new ZipDirectory(file);
        try {
            directory.readEntries();
        } catch (IndexOutOfBoundsException e) {
            throw new MalformedTorchException("has a zip directory that points outside the file", e);
        }
        directory.checkPlaces();
        directory.checkExpansion();
        return Collections.unmodifiableMap(directory.entries);
    }

    private int u16(long at) {
        return Short.toUnsignedInt(file.get(I16, at));
    }

    private long u32(long at) {
        return Integer.toUnsignedLong(file.get(I32, at));
    }

    /** An unsigned 64-bit number; none above 2^63 fits any file. */
    private long u64(long at) {
        long value = file.get(I64, at);
        if (value < 0) {
            throw new IndexOutOfBoundsException();
        }
        return value;
    }

    private long findEnd() throws MalformedTorchException {
        long last = file.byteSize() - END_BYTES;
        for (long at = last; at >= Math.max(0, last - 0xffff); at--) {
            if (file.get(I32, at) == END && u16(at + 20) == last - at) {
                return at;
            }
        }
        throw new MalformedTorchException("is truncated: the directory at the end of the zip file is missing");
    }

    private void readEntries() throws MalformedTorchException {
        long end = findEnd();
        long count = u16(end + 10);
        long length = u32(end + 12);
        long start = u32(end + 16);
        if (count == 0xffff || length == SATURATED || start == SATURATED) {
            if (file.get(I32, end - 20) != LOCATOR_64) {
                throw new MalformedTorchException("has a zip directory without its 64-bit part");
            }
            long end64 = u64(end - 20 + 8);
            if (end64 > end || file.get(I32, end64) != END_64) {
                throw new MalformedTorchException("has a zip directory whose 64-bit part is not where it should be");
            }
            count = u64(end64 + 32);
            length = u64(end64 + 40);
            start = u64(end64 + 48);
        }
        if (count > MOST_ENTRIES) {
            throw new MalformedTorchException("claims " + count + " zip entries, more than " + MOST_ENTRIES);
        }
        if (start > end || length > end - start) {
            throw new MalformedTorchException("has a zip directory that points outside the file");
        }
        long at = start;
        for (long i = 0; i < count; i++) {
            if (at > start + length - 46 || file.get(I32, at) != CENTRAL) {
                throw new MalformedTorchException("has a zip directory that ends before its " + count + " entries");
            }
            at = readEntry(at, start);
        }
    }

    /** Returns where the next one starts. */
    private long readEntry(long at, long directory) throws MalformedTorchException {
        int nameLength = u16(at + 28);
        int extraLength = u16(at + 30);
        long extra = at + 46 + nameLength;
        byte[] nameBytes = file.asSlice(at + 46, nameLength).toArray(ValueLayout.JAVA_BYTE);
        String name = new String(nameBytes, StandardCharsets.UTF_8);
        String shown = "zip entry " + SafetensorsHeader.shown(name);
        long[] sizes = {u32(at + 24), u32(at + 20), u32(at + 42)};
        widen(sizes, extra, extraLength);
        long size = sizes[0];
        long stored = sizes[1];
        long header = sizes[2];
        int method = u16(at + 10);
        if ((u16(at + 8) & 0x2041) != 0) {
            throw new MalformedTorchException("has an encrypted " + shown, "save it without encryption");
        }
        if (method != 0 && method != 8) {
            throw new MalformedTorchException(
                    "has " + shown + " in compression method " + method, "save it again with torch.save");
        }
        if (method == 0 && stored != size) {
            throw new MalformedTorchException("gives " + shown + " two sizes, " + stored + " and " + size);
        }
        if (header > directory || file.get(I32, header) != LOCAL || u16(header + 26) != nameLength) {
            throw new MalformedTorchException("has no " + shown + " where its directory says");
        }
        if (file.asSlice(header + 30, nameLength).mismatch(MemorySegment.ofArray(nameBytes)) != -1) {
            throw new MalformedTorchException("has another entry than " + shown + " where its directory says");
        }
        long offset = header + 30 + nameLength + u16(header + 28);
        if (offset > directory || stored > directory - offset) {
            throw new MalformedTorchException("is truncated in " + shown);
        }
        Entry entry = new Entry(name, method == 8, offset, stored, size, file.get(I32, at + 16));
        if (entries.put(name, entry) != null) {
            throw new MalformedTorchException("has " + shown + " twice");
        }
        places.add(new Place(header, offset + stored, shown));
        return extra + extraLength + u16(at + 32);
    }

    /** Replaces saturated 32-bit numbers by those of the zip64 extra field. */
    private void widen(long[] numbers, long extra, int extraLength) throws MalformedTorchException {
        long end = extra + extraLength;
        for (long field = extra; field + 4 <= end; field += 4 + u16(field + 2)) {
            if (u16(field) != 1) {
                continue;
            }
            long at = field + 4;
            for (int i = 0; i < numbers.length; i++) {
                if (numbers[i] == SATURATED) {
                    if (at + 8 > field + 4 + u16(field + 2)) {
                        throw new MalformedTorchException("has a zip entry without its 64-bit sizes");
                    }
                    numbers[i] = u64(at);
                    at += 8;
                }
            }
            return;
        }
    }

    private void checkPlaces() throws MalformedTorchException {
        places.sort(Comparator.comparingLong(Place::start));
        for (int i = 1; i < places.size(); i++) {
            if (places.get(i).start() < places.get(i - 1).end()) {
                throw new MalformedTorchException("has " + places.get(i - 1).name() + " and "
                        + places.get(i).name() + " that overlap");
            }
        }
    }

    private void checkExpansion() throws MalformedTorchException {
        List<Entry> deflated = entries.values().stream().filter(Entry::deflated).toList();
        long most = MOST_EXPANSION * file.byteSize() + FREE_EXPANSION;
        long total = 0;
        for (Entry entry : deflated) {
            if (entry.size() > most - total) {
                throw new MalformedTorchException(
                        "has compressed zip entries that unpack to more than " + MOST_EXPANSION + " times the file",
                        "save it again with torch.save, which does not compress");
            }
            total += entry.size();
        }
    }
}
