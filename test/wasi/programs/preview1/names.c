#include "calls.h"

static int rename_to(Fd dir, const char *from, const char *to) {
    return w_path_rename(dir, P(from), dir, P(to));
}

static void interesting_paths(Fd dir) {
    OK(w_path_create_directory(dir, P("dir")));
    OK(w_path_create_directory(dir, P("dir/nested")));
    make_file(dir, "dir/nested/file");
    FAILS(OPENS(dir, 0, "/dir/nested/file", 0), PERM);
    OK(OPENS(dir, 0, "dir/.//nested/../../dir/nested/../nested///./file", 0));
    FAILS(opens(dir, 0, "dir/nested/file\0", 16, 0, 0, 0), INVAL);
    FAILS(opens(dir, 0, "dir/\xff", 5, CREAT, 0, 0), ILSEQ);
    FAILS(opens(dir, 0, "", 0, 0, 0, 0), NOENT);
    FAILS(OPENS(dir, 0, "dir/nested/file/", 0), NOTDIR);
    FAILS(OPENS(dir, 0, "dir/nested/file///", 0), NOTDIR);
    FAILS(OPENS(dir, 0, "dir/nested/file/.", 0), NOTDIR);
    FAILS(OPENS(dir, 0, "dir/nested/none/", CREAT), ISDIR);
    OK(OPENS(dir, 0, "dir/nested/", 0));
    OK(OPENS(dir, 0, "dir/nested///", 0));
    OK(OPENS(dir, 0, "dir/nested/.", 0));
    FAILS(OPENS(dir, 0, "dir/nested/../../../interesting-paths/dir/nested/file", 0), PERM);
    FAILS(OPENS(dir, 0, "..", 0), PERM);
    FAILS(OPENS(dir, 0, "dir/nothing/../nested", 0), NOENT);
    char long_name[300];
    memset(long_name, 'n', sizeof long_name);
    FAILS(opens(dir, 0, long_name, 300, CREAT, 0, 0), NAMETOOLONG);
    OK(w_path_unlink_file(dir, P("dir/nested/file")));
    OK(w_path_remove_directory(dir, P("dir/nested")));
    OK(w_path_remove_directory(dir, P("dir")));
}
static void open_what_is_there(Fd dir) {
    FAILS(OPENS(dir, 0, "file", 0), NOENT);
    FAILS(OPENS(dir, 0, "file", DIRECTORY), NOENT);
    FAILS(OPENS(dir, 0, "file", TRUNC), NOENT);
    FAILS(OPENS(dir, 0, "none/file", CREAT), NOENT);
    OK(OPENS(dir, 0, "file", CREAT | EXCL));
    FAILS(OPENS(dir, 0, "file", CREAT | EXCL), EXIST);
    OK(OPENS(dir, 0, "file", CREAT));
    FAILS(OPENS(dir, 0, "file", DIRECTORY), NOTDIR);
    FAILS(OPENS(dir, 0, "file", 1 << 4), INVAL);
    FAILS(opens(dir, 0, P("file"), 0, 0, 1 << 5), INVAL);
    FAILS(OPENS(dir, 0, ".", TRUNC), ISDIR);
    OK(w_path_unlink_file(dir, P("file")));
}
static void beneath_a_file(Fd dir) {
    const Fd file = OPEN(dir, "file", CREAT, 0);
    FAILS(OPENS(file, 0, "other", CREAT), NOTDIR);
    FAILS(w_path_create_directory(file, P("other")), NOTDIR);
    FAILS(w_path_unlink_file(file, P("other")), NOTDIR);
    FAILS(OPENS(dir, 0, "file/other", CREAT), NOTDIR);
    OK(w_fd_close(file));
    OK(w_path_unlink_file(dir, P("file")));
}
static void rename_directory(Fd dir) {
    OK(w_path_create_directory(dir, P("source")));
    OK(rename_to(dir, "source", "target"));
    FAILS(OPENS(dir, 0, "source", DIRECTORY), NOENT);
    OK(OPENS(dir, 0, "target", DIRECTORY));
    /* Over an empty one, but no other. */
    OK(w_path_create_directory(dir, P("source")));
    OK(rename_to(dir, "source", "target"));
    FAILS(OPENS(dir, 0, "source", DIRECTORY), NOENT);
    OK(w_path_create_directory(dir, P("source")));
    make_file(dir, "target/file");
    FAILS(rename_to(dir, "source", "target"), NOTEMPTY);
    FAILS(rename_to(dir, "source", "target/file"), NOTDIR);
    FAILS(rename_to(dir, "target", "target/inner"), INVAL);
    FAILS(rename_to(dir, "none", "target"), NOENT);
    OK(w_path_unlink_file(dir, P("target/file")));
    OK(w_path_remove_directory(dir, P("source")));
    OK(w_path_remove_directory(dir, P("target")));
}
static void rename_file(Fd dir) {
    make_file(dir, "source");
    OK(rename_to(dir, "source", "target"));
    FAILS(OPENS(dir, 0, "source", 0), NOENT);
    OK(OPENS(dir, 0, "target", 0));
    const Fd old = OPEN(dir, "target", 0, FILE_RIGHTS);
    make_file(dir, "source");
    OK(rename_to(dir, "source", "target"));
    FAILS(OPENS(dir, 0, "source", 0), NOENT);
    TRUE(stat_at(dir, 0, "target").ino != stat_of(old).ino);
    OK(w_fd_close(old));
    OK(rename_to(dir, "target", "target"));
    OK(w_path_unlink_file(dir, P("target")));
    make_file(dir, "source");
    OK(w_path_create_directory(dir, P("target")));
    FAILS(rename_to(dir, "source", "target"), ISDIR);
    FAILS(rename_to(dir, "source/", "other"), NOTDIR);
    FAILS(rename_to(dir, "source", "other/"), NOTDIR);
    OK(w_path_remove_directory(dir, P("target")));
    OK(w_path_unlink_file(dir, P("source")));
}
static void rename_with_slash(Fd dir) {
    OK(w_path_create_directory(dir, P("source")));
    OK(rename_to(dir, "source/", "target"));
    OK(rename_to(dir, "target", "source/"));
    OK(rename_to(dir, "source/", "target/"));
    OK(rename_to(dir, "target", "source"));
    OK(w_path_remove_directory(dir, P("source")));
}
static void unlink_with_slash(Fd dir) {
    OK(w_path_create_directory(dir, P("dir")));
    FAILS(w_path_unlink_file(dir, P("dir")), ISDIR);
    FAILS(w_path_unlink_file(dir, P("dir/")), ISDIR);
    OK(w_path_remove_directory(dir, P("dir")));
    make_file(dir, "file");
    FAILS(w_path_unlink_file(dir, P("file/")), NOTDIR);
    OK(w_path_unlink_file(dir, P("file")));
}

const Named name_acts[] = {
    {"interesting-paths", interesting_paths}, {"open-what-is-there", open_what_is_there}, {"beneath-a-file", beneath_a_file},
    {"rename-directory", rename_directory}, {"rename-file", rename_file}, {"rename-with-slash", rename_with_slash},
    {"unlink-with-slash", unlink_with_slash}, {0},
};
