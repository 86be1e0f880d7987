//! The shell's commands in scripts, such as `\d` and `\plot`.

use super::script;
use crate::HOUSES;

#[test]
fn commands_work_in_scripts() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(
        at("part.sql"),
        "#!/usr/bin/env vatic\nSELECT 'part' AS v;\n\\q\n",
    )
    .unwrap();
    let text = format!(
        ".mode csv\n\\echo hello 'two words'\n\\i {part}\nSELECT 1 AS a \\g {out}\nSELECT 2 AS b;\n\\x on\nSELECT 3 AS c;\n\\x off\n\
         \\set vatic.batch_size 77\n\\show vatic.batch_size\n\\o {other}\nSELECT 4 AS d;\n\\o\nSELECT 5 AS e \\watch 0.01 2\n\\explain SELECT 6;\n",
        part = at("part.sql"),
        out = at("out.csv"),
        other = at("other.csv"),
    );
    let (output, error, code) = script(&text, &[]);
    assert_eq!(code, 0, "{error}");
    let expected = "hello two words\nv\npart\nb\n2\n-[ RECORD 1 ]\nc | 3\nname,value\nvatic.batch_size,77\ne\n5\ne\n5\nplan_type,plan\n";
    assert!(output.starts_with(expected), "{output}");
    assert_eq!(std::fs::read_to_string(at("out.csv")).unwrap(), "a\n1\n");
    assert_eq!(std::fs::read_to_string(at("other.csv")).unwrap(), "d\n4\n");
}

#[test]
fn commands_that_show_what_there_is() {
    let text = "CREATE TABLE t (a INT, b TEXT);\n.mode csv\n\\d\n\\d t\n\\dn\n\\df l2_n\n\\h softmax\n\\conninfo\n\\? timing\n\\pset\n";
    let (output, error, code) = script(text, &[]);
    assert_eq!(code, 0, "{error}");
    for expected in [
        "public,t,BASE TABLE",
        "a,Int32,YES",
        "schema\nexamples\nml\npublic\n",
        "l2_normalize,scalar,the vector divided by its Euclidean length",
        "softmax(vector)",
        "statements run in this process",
        "\\timing .timer",
        "maxrows,inf",
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[test]
fn plot_draws_losses_and_results() {
    let text = format!(
        "{HOUSES};\nTRAIN MODEL price TARGET price OPTIONS (model_type = 'dnn_regressor', epochs = 4, early_stop = false) \
         AS SELECT * FROM houses;\n\\plot\n\\plot price@1\nSELECT area, price FROM houses WHERE area > 90 ORDER BY area \\plot\n"
    );
    let (output, error, code) = script(&text, &[]);
    assert_eq!(code, 0, "{error}");
    // In a script, only the command draws.
    assert_eq!(output.matches('└').count(), 3, "{output}");
    assert_eq!(output.matches("losses of price@1\n").count(), 2, "{output}");
    for expected in [
        " train_loss ",
        " eval_loss ",
        "⠒⠒⠒ price 300.0000\n",
        "  91 ",
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
    let train = "CREATE TABLE t AS SELECT value AS x, value > 50 AS y FROM generate_series(1, 100); \
                 TRAIN MODEL c TARGET y OPTIONS (model_type = 'logistic_reg') AS SELECT * FROM t;";
    let matrix = "SELECT * FROM confusion_matrix(c, t)";
    let (output, error, _) = script(
        &format!("{train}\n{matrix};\n{matrix} \\plot\n\\pset plot on\n{matrix};\n"),
        &[],
    );
    assert_eq!(
        output.matches("| predicted_label |").count(),
        1,
        "{output}{error}"
    );
    assert_eq!(
        output.matches("of 100 rows are right, ").count(),
        2,
        "{output}{error}"
    );
}

#[test]
fn commands_with_an_error_end_a_script_with_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("own.sql");
    std::fs::write(&own, format!("\\i {}\n", own.display())).unwrap();
    for (command, expected) in [
        ("\\timng", "the nearest name is \"\\timing\""),
        ("\\i /nowhere.sql", "/nowhere.sql: No such file"),
        ("\\i .", "it is a directory"),
        ("\\plot", "no model was trained yet"),
        ("\\plot nobody", "model \"nobody\" does not exist"),
        ("SELECT 'a' AS b \\plot", "no two columns with numbers"),
        ("SELECT 1 AS a \\plot m", "not both"),
        (
            &format!("\\i {}", own.display()),
            "include each other more than 50 deep",
        ),
        ("\\o /nowhere/x", "/nowhere/x: "),
        (".mode xml", "there is no format \"xml\" among table, box"),
        ("\\pset nul x", "the nearest name is \"null\""),
        ("\\timing maybe", "takes on or off, found maybe"),
        ("\\set vatic.nonsense 1", "vatic.nonsense"),
        ("\\g", "there is no previous statement"),
        ("SELECT 1 \\timing", "is not ended by a semicolon"),
        ("\\echo 'open", "a quote is not closed"),
        ("\\h sofmax", "the nearest name is \"softmax\""),
        ("\\h trian", "there is no function \"trian\""),
        ("\\! exit 3", "ended with exit status: 3"),
    ] {
        let (output, error, code) = script(&format!("\n{command}\nSELECT 'not run'"), &[]);
        assert_eq!(code, 1, "{command}: {error}");
        assert!(error.contains(expected), "{command}: {error}");
        assert!(!output.contains("not run"), "{command}");
    }
    let (_, error, _) = script("\n\n\\timng", &[]);
    assert!(
        error.contains("LINE 3: \\timng") || error.starts_with("error[42601]"),
        "{error}"
    );
    let (_, error, code) = script("\\! true", &["--safe"]);
    assert!(error.contains("--safe forbids") && code == 1, "{error}");
}
